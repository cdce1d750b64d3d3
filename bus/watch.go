package bus

// watcher waits for a change of who subscribes to topics.
type watcher struct {
	filter  string
	changed chan struct{}
}

// Watch tells when somebody subscribes to a topic that filter takes, or stops
// to, so that who publishes there has nothing to do, and needs no clock, while nobody listens.
// Changes that come faster than they are received count as one.
func (b *Bus) Watch(filter string) (changed <-chan struct{}, stop func()) {
	w := &watcher{filter: filter, changed: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers[w] = struct{}{}
	return w.changed, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, w)
	}
}

// tell tells those who watch topics that filter takes. The caller has the lock.
func (b *Bus) tell(filter string) {
	for w := range b.watchers {
		if !Overlap(filter, w.filter) {
			continue
		}
		select {
		case w.changed <- struct{}{}:
		default: // it has not looked at the last change yet
		}
	}
}

// Wanted reports whether anybody subscribes to a topic.
func (b *Bus) Wanted(topic string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	wanted := false
	b.tree.match(topic, func(n *node) { wanted = wanted || len(n.subs)+len(n.groups) > 0 })
	return wanted
}
