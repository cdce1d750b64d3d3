package bus

// outbox is the queue of frames that go out on a connection.
type outbox struct {
	gate
}

func (o *outbox) flush(inline bool) {}
