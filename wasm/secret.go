package wasm

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/rmp"
)

// Secrets gives out values by id (spec/07). The door has checked that the
// caller was granted the id.
type Secrets interface {
	// Secret returns the value, or an *[Error] with CodeNotFound when there is
	// none under that id. Its errors never hold a value.
	Secret(ctx context.Context, c Caller, id string) (string, error)
}

// A handle is what an agent holds in place of a secret: 128 random bits
// between these. It means something only in the attempt that got it.
const (
	handleOpen  = "{{secret:"
	handleClose = "}}"
)

// Forms of secret.get.
const (
	secretHandle = "handle"
	secretValue  = "value"
)

func doSecretGet(ctx context.Context, d *door, args []byte) (any, error) {
	const op = opSecretGet
	q := struct {
		ID string `json:"id"`
		As string `json:"as"`
	}{As: secretHandle}
	if err := unmarshalArgs(op, args, &q); err != nil {
		return nil, err
	}
	if q.ID == "" || q.As != secretHandle && q.As != secretValue {
		return nil, errorf(CodeInvalid, "%s: an id is required, and as is handle or value", op)
	}
	value, err := d.secret(ctx, op, q.ID, args)
	if err != nil {
		return nil, err
	}
	if q.As == secretValue {
		if !slices.Contains(d.caller.Caps.SecretsRaw, q.ID) {
			return nil, d.deny(ctx, capSecretsRaw, op, q.ID, args)
		}
		return map[string]string{"value": value}, nil
	}
	handle := newHandle()
	d.holdHandle(handle, q.ID)
	return map[string]string{"handle": handle}, nil
}

func newHandle() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return handleOpen + hex.EncodeToString(b[:]) + handleClose
}

func (d *door) holdHandle(handle, id string) {
	if d.handles == nil {
		d.handles = map[string]string{}
	}
	d.handles[handle] = id
}

// secret is the value of a secret that the caller was granted. From here on it
// is masked wherever it turns up.
func (d *door) secret(ctx context.Context, op, id string, args []byte) (string, error) {
	caps := d.caller.Caps
	if !slices.Contains(caps.Secrets, id) {
		return "", d.deny(ctx, capSecrets, op, id, args)
	}
	if d.services.Secrets == nil {
		return "", unavailable(op)
	}
	value, err := d.services.Secrets.Secret(ctx, d.caller, id)
	if err != nil {
		return "", err
	}
	d.redactor().Add(id, value)
	d.allow(ctx, capSecrets, op, id, args)
	return value, nil
}

// revealSecrets puts secrets in the place of their handles.
func (d *door) revealSecrets(ctx context.Context, op, text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, handleOpen)
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, _ := strings.Cut(rest, handleClose)
		id, ok := d.handleID(handleOpen + name + handleClose)
		if !ok {
			return "", errorf(CodeInvalid, "%s: that is no handle of a secret in this attempt", op)
		}
		value, err := d.secret(ctx, op, id, nil)
		if err != nil {
			return "", err
		}
		out.WriteString(strings.TrimRight(value, "\r\n")) // files end in one
		text = after
	}
}

// handleID is the secret that a handle stands for. An attempt that goes on
// where an earlier one waited has its handles on the tape.
func (d *door) handleID(handle string) (id string, ok bool) {
	if id, ok = d.handles[handle]; ok {
		return id, true
	}
	for _, call := range d.tape.calls {
		if call.Op != opSecretGet || !bytes.Contains(call.OK, []byte(handle)) {
			continue
		}
		var args struct {
			ID string `json:"id"`
		}
		if unmarshalMsgpack(call.Args, &args) == nil {
			d.holdHandle(handle, args.ID)
			return args.ID, true
		}
	}
	return "", false
}

// nameHandles writes ids in the place of handles, so that two attempts which
// ask for the same say the same.
func (d *door) nameHandles(args []byte) []byte {
	if !bytes.Contains(args, []byte(handleOpen)) {
		return args
	}
	text := string(args)
	for handle, id := range d.handles {
		name, err := json.Marshal(id)
		if err == nil {
			text = strings.ReplaceAll(text, handle, handleOpen+string(name[1:len(name)-1])+handleClose)
		}
	}
	return []byte(text)
}

// redactor is the one of the host, or of the door alone.
func (d *door) redactor() *Redactor {
	if d.services != nil && d.services.Redactor != nil {
		return d.services.Redactor
	}
	return &d.ownRedactor
}

// opSecretGet is the one hostcall whose answer may hold a secret.
const opSecretGet = "secret.get"

// takesSecrets reports whether a hostcall may carry a secret out, to where it
// is meant for. In what goes to other backends secrets are masked; a file that
// an agent saves is masked when it is unpacked.
func takesSecrets(op string) bool {
	return slices.Contains([]string{"http.request", "exec.run", "tool.call", "artifact.save", opSecretGet}, op)
}

// secretAgain is a recorded answer as its guest is to have it; false means that the
// guest is to end.
//
// The tape has no value of a secret. The mask that a replayed guest gets in its
// place stands for itself in any encoding: the recording has it wherever the guest
// wrote an encoded form of the secret. A guest that is brought back to where it was
// parked gets the value once more, from where it got it before: that may refuse by
// now, or have another one, by which the guest gets somewhere else and is stopped.
func (d *door) secretAgain(ctx context.Context, call rmp.Hostcall, args []byte) (rmp.Hostcall, bool) {
	if call.Op != opSecretGet || call.Err != nil {
		return call, true
	}
	var of struct{ ID, As string }
	var ok struct{ Handle string }
	if unmarshalMsgpack(call.Args, &of) != nil || unmarshalMsgpack(call.OK, &ok) != nil {
		return call, true // the mask of an answer that never was one
	}
	switch {
	case d.tape.replay && of.As == secretValue:
		d.redactor().Add(of.ID, secretMask(of.ID))
	case d.tape.replay:
	case of.As == secretValue:
		value, err := d.perform(ctx, opSecretGet, args)
		if err != nil {
			d.watch.kill(errorf(CodeRevoked, "stopped: it saw the secret %s before it waited, and cannot be given it again: %s",
				of.ID, asError(err).Message))
			return call, false
		}
		call.OK = value
	default: // what the guest does with it is named by the secret
		d.holdHandle(ok.Handle, of.ID)
	}
	return call, true
}

// mask takes secrets out of what an attempt gives back.
func (a *attempt) mask(res *rmp.AgentResponse) {
	r := a.door.redactor()
	res.Ports = r.redactMsgpack(res.Ports)
	if res.Error != nil {
		res.Error.Message = r.Redact(res.Error.Message)
	}
}
