package guest

import (
	"encoding/base64"
	"time"
)

// Embed turns texts into vectors, one for each, through the host's broker. It
// needs the capability model.
func (c *Call) Embed(model string, texts ...string) ([][]float32, error) {
	args := struct {
		Model string   `json:"model,omitempty"`
		Input []string `json:"input"`
	}{model, texts}
	var res struct {
		Vectors [][]float32 `json:"vectors"`
	}
	err := c.Ask("model.embed", args, &res)
	return res.Vectors, err
}

// HTTPRequest is a request to a host that was granted (capability net). A value
// of Headers may hold a [Secret]'s handle, which the host replaces.
type HTTPRequest struct {
	Method  string // GET if empty
	URL     string
	Headers map[string]string
	Body    []byte
	Timeout time.Duration // 0 means 30 s
}

// HTTPResponse is the answer of a server. Names of Headers are in lower case.
type HTTPResponse struct {
	Status  int
	Headers map[string][]string
	Body    []byte
	URL     string // that answered, after redirects
}

// HTTP makes a request. An answer of any status is no error.
func (c *Call) HTTP(r HTTPRequest) (*HTTPResponse, error) {
	args := map[string]any{
		"method": r.Method, "url": r.URL, "timeout_ms": r.Timeout.Milliseconds(),
		"body": base64.StdEncoding.EncodeToString(r.Body), "encoding": "base64",
	}
	if r.Headers != nil {
		args["headers"] = r.Headers
	}
	var res struct {
		Status   int                 `json:"status"`
		Headers  map[string][]string `json:"headers"`
		Body     string              `json:"body"`
		Encoding string              `json:"encoding"`
		URL      string              `json:"url"`
	}
	if err := c.Ask("http.request", args, &res); err != nil {
		return nil, err
	}
	body, err := decode(res.Body, res.Encoding)
	return &HTTPResponse{res.Status, res.Headers, body, res.URL}, err
}

// decode is text that the host may have put into base64.
func decode(text, encoding string) ([]byte, error) {
	if encoding == "" {
		return []byte(text), nil
	}
	return base64.StdEncoding.DecodeString(text)
}

// Secret returns a handle of a secret that was granted (capability secrets).
// It stands for the secret in the headers of a request of this attempt.
func (c *Call) Secret(id string) (handle string, err error) {
	var res struct {
		Handle string `json:"handle"`
	}
	err = c.Ask("secret.get", map[string]string{"id": id}, &res)
	return res.Handle, err
}

// SecretValue returns the plain value of a secret. It needs the capability
// secrets_raw as well.
func (c *Call) SecretValue(id string) (value string, err error) {
	var res struct {
		Value string `json:"value"`
	}
	err = c.Ask("secret.get", map[string]string{"id": id, "as": "value"}, &res)
	return res.Value, err
}

// Program is a program to run (capability exec). Argv goes to it as it stands;
// there is no shell.
type Program struct {
	Argv    []string
	Stdin   []byte
	Timeout time.Duration // 0 means 30 s
	// Idempotent says that it may run again under the same
	// RUNLOOP_IDEMPOTENCY_KEY, which it finds in its environment.
	Idempotent bool
}

// Ran is how a program ended. ExitCode is -1 for one that a signal ended.
type Ran struct {
	ExitCode       int
	Signal         string
	Stdout, Stderr []byte
	Cut            bool // it wrote more than was kept
}

// Run runs a program to its end.
func (c *Call) Run(p Program) (*Ran, error) {
	args := map[string]any{
		"argv": p.Argv, "stdin": base64.StdEncoding.EncodeToString(p.Stdin), "encoding": "base64",
		"timeout_ms": p.Timeout.Milliseconds(), "idempotent": p.Idempotent,
	}
	var res struct {
		ExitCode       int    `json:"exit_code"`
		Signal         string `json:"signal"`
		Stdout         string `json:"stdout"`
		StdoutEncoding string `json:"stdout_encoding"`
		Stderr         string `json:"stderr"`
		StderrEncoding string `json:"stderr_encoding"`
		Cut            bool   `json:"cut"`
	}
	if err := c.Ask("exec.run", args, &res); err != nil {
		return nil, err
	}
	out, err := decode(res.Stdout, res.StdoutEncoding)
	if err != nil {
		return nil, err
	}
	errOut, err := decode(res.Stderr, res.StderrEncoding)
	return &Ran{res.ExitCode, res.Signal, out, errOut, res.Cut}, err
}

// Tool calls a tool of the bundle's tools.json and reads its result into
// result, unless that is nil.
func (c *Call) Tool(id string, args, result any) error {
	return c.Ask("tool.call", map[string]any{"id": id, "args": args}, result)
}
