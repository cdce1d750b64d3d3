package wasm

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// defaultPort is where a document goes that is not an object of ports.
const defaultPort = "out"

// parseOutputs reads what a guest wrote to stdout: one JSON document. If it is
// an object whose keys are all declared output ports, they are the ports;
// otherwise the whole is the port "out" (spec/03 "What the guest sees").
// Values come back in canonical form (RFC 8785).
func parseOutputs(doc []byte, m *Manifest) (map[string]json.RawMessage, error) {
	doc = bytes.TrimSpace(doc)
	if len(doc) == 0 {
		return nil, errorf(CodeOutputInvalid, "the agent wrote nothing to stdout")
	}
	value := jsontext.Value(bytes.Clone(doc))
	if err := value.Canonicalize(); err != nil {
		return nil, errorf(CodeOutputInvalid, "stdout is not one JSON document (%v); it begins: %s",
			err, printable(string(doc[:min(len(doc), 120)])))
	}
	out, err := splitPorts(json.RawMessage(value), m)
	if err != nil {
		return nil, err
	}
	for name, v := range out {
		if err := checkSchema(m.Out[name].Schema, v); err != nil {
			return nil, errorf(CodeOutputInvalid, "output port %s: %v", name, err)
		}
	}
	return out, nil
}

func splitPorts(doc json.RawMessage, m *Manifest) (map[string]json.RawMessage, error) {
	var ports map[string]json.RawMessage
	if doc[0] == '{' && json.Unmarshal(doc, &ports) == nil && allDeclared(ports, m) {
		return ports, nil
	}
	if _, ok := m.Out[defaultPort]; !ok && len(m.Out) > 0 {
		return nil, errorf(CodeOutputInvalid,
			"stdout is not an object of the output ports %v, and there is no port %q for the whole",
			sortedKeys(m.Out), defaultPort)
	}
	return map[string]json.RawMessage{defaultPort: doc}, nil
}

func allDeclared(ports map[string]json.RawMessage, m *Manifest) bool {
	for name := range ports {
		if _, ok := m.Out[name]; !ok {
			return false
		}
	}
	return true
}

// checkSchema validates a value against a JSON Schema; no schema takes all.
func checkSchema(schema, value json.RawMessage) error {
	s, err := parseValueSchema(schema)
	if s == nil || err != nil {
		return err
	}
	return s.validate(value)
}
