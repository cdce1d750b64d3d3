package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

func cmdAgentSend(io *IO) *cli.Command {
	return &cli.Command{
		Name: "send", Usage: "put a message into the mailbox of a resident agent", ArgsUsage: "AGENT JSON",
		UsageText: `rlp agent send greeter '{"hello": "you"}'
rlp agent send --wait 5s greeter '{"hello": "you"}'`,
		Description: `With --wait the message, which must then be an object, asks for a reply, and the
reply is printed.`,
		Flags: []cli.Flag{&cli.DurationFlag{Name: "wait", Usage: "wait for a reply, for no longer than `TIME`"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usageErrorf("want an agent and a message (see rlp agent send --help)")
			}
			return sendMail(c.Context, io, c.Args().Get(0), c.Args().Get(1), c.Duration("wait"))
		},
	}
}

// mailTTL is how long a message may wait in a mailbox.
const mailTTL = time.Minute

func sendMail(ctx context.Context, io *IO, ref, message string, wait time.Duration) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	if !json.Valid([]byte(message)) {
		return usageErrorf("the message is not JSON: %s", printable(message))
	}
	conn, err := dialDaemon(ctx, cfg, bus.KindCLI)
	if err != nil {
		return err
	}
	defer conn.Close()
	a, err := conn.ask(ctx, &ctrlRequest{Op: "agents.ps", Agents: []string{ref}})
	if err != nil {
		return err
	}
	if len(a.States) == 0 || a.States[0].Life != "resident" || a.States[0].UpMillis == 0 {
		return exitErrorf(exitNotFound, "no resident agent %s runs; start it with: rlp agent start %s", printable(ref), printable(ref))
	}
	m := &mailing{conn: conn, ref: ref, id: uuid.New(), doc: []byte(message)}
	if wait <= 0 {
		return m.send(ctx)
	}
	reply, err := m.ask(ctx, wait)
	if err != nil {
		return err
	}
	return m.print(io, reply)
}

// mailing is one message to an agent.
type mailing struct {
	conn *daemonConn
	ref  string
	id   uuid.UUID
	doc  []byte
}

func (m *mailing) send(ctx context.Context) error {
	payload, err := rmp.AppendMsgpack(nil, m.doc)
	if err != nil {
		return usageErrorf("the message: %v", err)
	}
	if err := m.conn.Send(ctx, &rmp.Message{
		SchemaID: rmp.CTIntent, TraceID: rmp.TraceID(m.id), TTLMS: uint64(mailTTL.Milliseconds()),
		Meta: rmp.Meta{Topic: "agent/" + m.ref + "/mail", From: "rlp"}, Raw: payload,
	}); err != nil {
		return fmt.Errorf("sending to %s: %w", m.ref, err)
	}
	return nil
}

// ask sends the message with a place for the reply and waits for that.
func (m *mailing) ask(ctx context.Context, wait time.Duration) (*bus.Msg, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(m.doc, &doc); err != nil || doc == nil {
		return nil, usageErrorf("--wait needs a message that is an object")
	}
	topic := "rlp/agents/" + m.ref + "/replies/" + m.id.String()
	replies, err := m.conn.Subscribe(ctx, topic, bus.SubOptions{})
	if err != nil {
		return nil, fmt.Errorf("listening for the reply: %w", err)
	}
	doc["reply_to"], _ = json.Marshal(topic) // a string
	if m.doc, err = json.Marshal(doc); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := m.send(ctx); err != nil {
		return nil, err
	}
	msg, err := replies.Recv(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, exitErrorf(exitFailed, "agent %s did not reply within %s", printable(m.ref), wait)
	}
	return msg, err
}

// print writes what the agent replied.
func (m *mailing) print(io *IO, msg *bus.Msg) error {
	js, err := rmp.AppendJSON(nil, msg.Payload)
	if err != nil {
		return fmt.Errorf("the reply of %s: %w", m.ref, err)
	}
	var reply struct {
		OK    json.RawMessage           `json:"ok"`
		Error *struct{ Message string } `json:"error"`
	}
	if err := json.Unmarshal(js, &reply); err != nil {
		return fmt.Errorf("the reply of %s: %w", m.ref, err)
	}
	if reply.Error != nil {
		return exitErrorf(exitFailed, "agent %s: %s", printable(m.ref), printable(reply.Error.Message))
	}
	return printJSON(io.Stdout, reply.OK)
}
