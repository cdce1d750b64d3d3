// Command probe is a guest for the tests of the host: each agent does one
// thing that the sandbox contract speaks of.
package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/runloop-os/runloop/wasm/guest"
)

var handlers = guest.Handlers{
	"probe": func(c *guest.Call) error {
		var with struct{ Do string }
		if err := c.Bind(&with); err != nil {
			return err
		}
		do := probes[with.Do]
		if do == nil {
			return fmt.Errorf("no probe %q", with.Do)
		}
		return do(c)
	},
}

var probes = map[string]func(*guest.Call) error{
	"echo": func(c *guest.Call) error {
		fmt.Fprintln(os.Stderr, "a line of log")
		return c.Out("out", map[string]any{"with": c.With, "inputs": c.Inputs, "node": c.Node, "attempt": c.Attempt})
	},
	"seen": func(c *guest.Call) error {
		entries, err := os.ReadDir("/")
		return c.Out("out", map[string]any{
			"args": os.Args, "env": os.Environ(), "root": len(entries), "root_err": fmt.Sprint(err),
		})
	},
	"clock": func(c *guest.Call) error {
		a := time.Now()
		time.Sleep(20 * time.Millisecond)
		return c.Out("out", map[string]any{"year": a.UTC().Year(), "slept_ms": time.Since(a).Milliseconds()})
	},
	"random": func(c *guest.Call) error {
		b := make([]byte, 16)
		rand.Read(b)
		order := slices.Collect(maps.Keys(map[int]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9}))
		return c.Out("out", map[string]any{"bytes": hex.EncodeToString(b), "order": order})
	},
	// count tells which run of this instance it is.
	"count": func(c *guest.Call) error { runs++; return c.Out("out", runs) },
	"files": files,
	"waits": waits,
	"leak":  leak,
	"calls": calls,
	"now":   func(c *guest.Call) error { t, err := c.Now(); return errors.Join(err, c.Out("out", t.UnixMicro())) },
	"retry": func(*guest.Call) error { return guest.Retry(errors.New("not now")) },
	"fail":  func(*guest.Call) error { return errors.New("never") },
	"panic": func(*guest.Call) error { panic("on purpose \x1b[31m") },
	"forever": func(*guest.Call) error {
		for {
			time.Sleep(time.Hour)
		}
	},
	"busy": func(*guest.Call) error {
		for {
			busy++
		}
	},
	"notjson":  func(*guest.Call) error { fmt.Print("hello \x1b]0;x\x07"); os.Exit(0); return nil },
	"silent":   func(*guest.Call) error { os.Exit(0); return nil },
	"whole":    func(*guest.Call) error { fmt.Print(`{"a":1}`); os.Exit(0); return nil },
	"twodocs":  func(*guest.Call) error { fmt.Print(`{"out":1}{"out":2}`); os.Exit(0); return nil },
	"dupkeys":  func(*guest.Call) error { fmt.Print(`{"out":1,"out":2}`); os.Exit(0); return nil },
	"flood":    func(*guest.Call) error { fmt.Print(strings.Repeat("x", 8<<20)); return nil },
	"logflood": func(c *guest.Call) error { fmt.Fprint(os.Stderr, strings.Repeat("é", 2<<20)); return c.Out("out", 1) },
	"exit":     func(*guest.Call) error { os.Exit(77); return nil },
	"memory": func(*guest.Call) error {
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
		}
	},
}

var busy, runs int

// calls makes the hostcalls that with lists and gives out what came back.
func calls(c *guest.Call) error {
	var with struct {
		Calls []struct {
			Op   string
			Args json.RawMessage
		}
	}
	if err := c.Bind(&with); err != nil {
		return err
	}
	out := []any{}
	for _, call := range with.Calls {
		var answer json.RawMessage
		if err := c.Ask(call.Op, call.Args, &answer); err != nil {
			out = append(out, err.Error())
			continue
		}
		out = append(out, answer)
	}
	return c.Out("out", out)
}

// leak gets a secret's plain value and says it wherever it can.
func leak(c *guest.Call) error {
	var secret struct{ Value string }
	if err := c.Ask("secret.get", map[string]string{"id": "a/raw", "as": "value"}, &secret); err != nil {
		return err
	}
	var with struct{ Base64 bool }
	if err := c.Bind(&with); err != nil {
		return err
	}
	v := secret.Value
	quoted, _ := json.Marshal(v)
	forms := []string{v, string(quoted), url.QueryEscape(v), url.PathEscape(v), hex.EncodeToString([]byte(v))}
	if with.Base64 { // what is left of it around the mask has the secret's length in it
		forms = append(forms, base64.StdEncoding.EncodeToString([]byte("u:"+v)))
	}
	for _, f := range forms {
		fmt.Fprintln(os.Stderr, "stderr", f)
		c.Log("info", "log "+f, map[string]any{"field": f})
		if with.Base64 {
			bytes := base64.StdEncoding.EncodeToString([]byte(f))
			if err := c.Ask("artifact.save", map[string]string{"kind": "k", "name": "n", "bytes": bytes, "encoding": "base64"}, nil); err != nil {
				return err
			}
		}
		for op, args := range map[string]any{
			"kb.propose":     map[string]any{"kind": "note.added", "payload": map[string]string{"title": f}},
			"kb.search":      map[string]string{"text": f},
			"artifact.save":  map[string]string{"kind": "k", "name": "n", "bytes": f},
			"action.confirm": map[string]any{"kind": "send", "summary": "s", "details": map[string]string{"d": f}},
			"model.complete": map[string]string{"prompt": f},
		} {
			if err := c.Ask(op, args, nil); err != nil {
				return err
			}
		}
	}
	return c.Out("out", forms)
}

// files reads and writes below with.Dir.
func files(c *guest.Call) error {
	var with struct{ Dir string }
	if err := c.Bind(&with); err != nil {
		return err
	}
	text, err := os.ReadFile(with.Dir + "/in.txt")
	if err != nil {
		return err
	}
	werr := os.WriteFile(with.Dir+"/out.txt", []byte("made here"), 0o644)
	_, escape := os.ReadFile(with.Dir + "/../../../../../../../../etc/hostname")
	entries, err := os.ReadDir(with.Dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return errors.Join(err, c.Out("out", map[string]any{
		"text": string(text), "names": names, "wrote": werr == nil, "escaped": escape == nil,
	}))
}

// waits uses files and a secret of with, asks a person, and uses them again.
func waits(c *guest.Call) error {
	var with struct {
		Dir, Secret, URL string
		Value            bool   // get the secret itself
		Hold             string // open, or listing: what is held while a person is asked
	}
	if err := c.Bind(&with); err != nil {
		return err
	}
	seen := map[string]any{}
	use := func(when string) error {
		if with.Dir != "" {
			text, err := os.ReadFile(with.Dir + "/in.txt")
			if err != nil {
				return err
			}
			seen[when] = string(text)
			log, err := os.OpenFile(with.Dir+"/log.txt", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(log, when)
			entries, derr := os.ReadDir(with.Dir)
			seen[when+" names"] = len(entries)
			if err := errors.Join(err, log.Close(), derr); err != nil {
				return err
			}
		}
		return useSecret(c, with.Secret, with.URL, with.Value, seen, when)
	}
	if err := use("before"); err != nil {
		return err
	}
	var held *os.File
	switch with.Hold {
	case "open":
		held, _ = os.Open(with.Dir + "/in.txt")
	case "listing":
		held, _ = os.Open(with.Dir)
		_, _ = held.Readdirnames(1)
	}
	d, err := c.Confirm(guest.Action{Kind: "send", Summary: "s", Details: map[string]any{"seen": seen}})
	if err != nil {
		return err
	}
	seen["approved"] = d.Approved
	if held != nil {
		rest, err := io.ReadAll(held)
		seen["held"] = string(rest)
		_ = errors.Join(err, held.Close())
	}
	return errors.Join(use("after"), c.Out("out", seen))
}

var heldSecret string

// useSecret sends a secret to the server at url, or looks whether it begins so.
func useSecret(c *guest.Call, id, url string, value bool, seen map[string]any, when string) error {
	if id == "" {
		return nil
	}
	if value {
		v, err := c.SecretValue(id)
		if url != "" {
			seen[when+" value"] = strings.HasPrefix(v, url)
		}
		return err
	}
	var err error
	if when == "before" {
		if heldSecret, err = c.Secret(id); err != nil {
			return err
		}
	}
	res, err := c.HTTP(guest.HTTPRequest{Method: "POST", URL: url, Headers: map[string]string{"Authorization": heldSecret}, Body: []byte("x")})
	if err == nil {
		seen[when+" answer"] = string(res.Body)
	}
	return err
}

func main() { guest.Main(handlers) }
