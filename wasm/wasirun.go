package wasm

// WASIConfig is a program.
type WASIConfig struct {
	Args []string
	Env  map[string]string
}
