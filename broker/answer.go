package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// answer puts a completion together from its pieces.
type answer struct {
	maxOut  int64 // what the provider was asked to stop at, 0 for no limit
	text    strings.Builder
	refusal strings.Builder
	calls   []partialCall
	argLen  int       // bytes of arguments in all calls
	reason  string    // why the provider says it stopped, "" until it does
	usage   wireUsage // zero until it is reported
	cut     bool      // by us: see runaway
}

// partialCall is a tool call whose arguments arrive in pieces. Its id and
// name come with the first; servers that repeat them say nothing new.
type partialCall struct {
	id, name string
	args     strings.Builder
}

// readStream reads events until the stream ends.
func (a *answer) readStream(r io.Reader) error {
	events := newEventReader(r)
	for {
		data, err := events.next()
		if err == errDone {
			return a.ended()
		}
		if errors.Is(err, errTooLong) {
			return fault(false, "an event is longer than %d bytes", maxEventLine)
		}
		if err != nil {
			return streamBroke(err)
		}
		if err := a.add(data); err != nil {
			return err
		}
		if a.runaway() {
			a.cut = true
			return nil
		}
	}
}

// streamBroke is a connection that ended where the protocol did not.
func streamBroke(err error) error {
	e := fault(true, "the stream broke off: %s", printable(withoutURL(err).Error(), maxErrText))
	e.Err = err
	return e
}

// ended accepts a stream that has said why it stopped. Some servers leave out
// "[DONE]"; none leaves out the reason unless it was interrupted.
func (a *answer) ended() error {
	if a.reason == "" {
		return fault(true, "the stream ended before the answer did")
	}
	return nil
}

// runaway reports that the provider does not heed the length it was asked
// for. The estimate is rough, so only twice the length counts.
func (a *answer) runaway() bool {
	return a.maxOut > 0 && int64(a.text.Len()+a.argLen)/4 > 2*a.maxOut+64
}

// add takes in one event, or the whole body of an answer that is no stream.
func (a *answer) add(data []byte) error {
	var c wireChunk
	if err := jsonv2.Unmarshal(data, &c); err != nil {
		return fault(false, "malformed answer: %s", printable(err.Error(), maxErrText))
	}
	if len(c.Error) > 0 && string(c.Error) != "null" {
		return inStreamError(c.Error)
	}
	if c.Usage.sane() {
		a.usage = c.Usage
	}
	for _, choice := range c.Choices {
		if choice.Index != 0 {
			continue // we ask for one choice
		}
		if choice.FinishReason != "" {
			a.reason = choice.FinishReason
		}
		for _, d := range []wireDelta{choice.Delta, choice.Message} {
			if err := a.addDelta(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// addDelta appends a piece of text and pieces of tool calls. An index may
// repeat or go up by one; anything else would let a server size our slice.
func (a *answer) addDelta(d wireDelta) error {
	a.text.WriteString(d.Content)
	a.refusal.WriteString(d.Refusal)
	for i, c := range d.ToolCalls {
		at := i
		if c.Index != nil {
			at = *c.Index
		}
		if at < 0 || at > len(a.calls) || at >= maxTools {
			return fault(false, "tool call %d out of order", at)
		}
		if at == len(a.calls) {
			a.calls = append(a.calls, partialCall{})
		}
		p := &a.calls[at]
		if p.id == "" {
			p.id = c.ID
		}
		if p.name == "" {
			p.name = c.Function.Name
		}
		p.args.WriteString(c.Function.Arguments)
		a.argLen += len(c.Function.Arguments)
	}
	return nil
}

// inStreamError is an error that came after the status had said 200. A
// numeric code is read as a status.
func inStreamError(raw json.RawMessage) error {
	w := parseWireError(raw)
	e := fault(true, "failed while answering: %s", printable(w.Message, maxErrText))
	if n, err := strconv.Atoi(w.code()); err == nil && n >= 400 && n < 500 {
		e.Status = n
		e.Retryable = n == 408 || n == 429
	}
	return e
}

// readWhole reads an answer from a server that does not stream.
func (a *answer) readWhole(r io.Reader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return streamBroke(err)
	}
	if err := a.add(body); err != nil {
		return err
	}
	return a.ended()
}

// sane keeps absurd counts from emptying a budget.
func (u wireUsage) sane() bool {
	const most = 1 << 30
	return u.PromptTokens >= 0 && u.PromptTokens <= most &&
		u.CompletionTokens >= 0 && u.CompletionTokens <= most &&
		u.PromptTokens+u.CompletionTokens > 0
}

// finish makes the response. What the provider did not report is estimated,
// so that a stream that broke off, or was cut, is still charged for.
func (a *answer) finish(prompt int64, err error) (Response, error) {
	out := Response{Text: a.text.String(), Finish: a.finishReason()}
	if out.Text == "" && a.refusal.Len() > 0 {
		out.Text, out.Finish = a.refusal.String(), FinishRefusal
	}
	if err == nil && !a.cut {
		out.ToolCalls, err = a.toolCalls()
	}
	out.Usage = Usage{TokensIn: a.usage.PromptTokens, TokensOut: a.usage.CompletionTokens}
	if out.Usage.TokensIn == 0 {
		out.Usage.TokensIn = prompt
	}
	if out.Usage.TokensOut == 0 {
		out.Usage.TokensOut = out.estimate() + int64(a.argLen)/4
	}
	return out, err
}

// finishReason is the provider's reason in our spelling.
func (a *answer) finishReason() string {
	switch {
	case a.cut:
		return FinishLength
	case a.reason == "function_call":
		return FinishToolCalls
	}
	switch a.reason {
	case FinishStop, FinishLength, FinishToolCalls, FinishFilter:
		return a.reason // spelt as we spell it
	}
	return FinishOther
}

// toolCalls checks the calls: a guest acts on them, so each has a name, an id
// of its own and arguments that are JSON.
func (a *answer) toolCalls() ([]ToolCall, error) {
	var out []ToolCall
	seen := map[string]bool{}
	for i := range a.calls {
		p := &a.calls[i]
		if p.id == "" {
			p.id = fmt.Sprintf("call_%d", i)
		}
		args := p.args.String()
		if strings.TrimSpace(args) == "" {
			args = "{}"
		}
		switch {
		case seen[p.id]:
			return nil, fault(false, "tool call id %q comes twice", printable(p.id, 64))
		case !toolName(p.name):
			return nil, fault(false, "tool call %d has no proper name", i)
		case !json.Valid([]byte(args)):
			return nil, fault(false, "the arguments of tool call %d are not JSON (finish reason %s)",
				i, a.finishReason())
		}
		seen[p.id] = true
		out = append(out, ToolCall{ID: p.id, Name: p.name, Arguments: json.RawMessage(args)})
	}
	return out, nil
}
