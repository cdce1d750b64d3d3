package broker

import (
	"container/list"
	"encoding/binary"
	"encoding/json"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"lukechampine.com/blake3"
)

// CacheConfig sizes the memory of answers. Answers live in this process only.
type CacheConfig struct {
	TTL      time.Duration // 0: no caching
	Capacity int           // answers; 0: no caching
	MaxBytes int64         // of all answers together; 0: 64 MiB
}

const defaultCacheBytes = 64 << 20

// cacheKey is a BLAKE3 hash, so that a guest cannot make two requests meet.
type cacheKey [32]byte

// keyOf hashes everything that decides an answer: scope, target, messages,
// parameters, tools and schema. Schemas are brought to one spelling first, so
// that a guest that writes its maps in another order still hits.
func keyOf(scope string, t Target, r *Request) (cacheKey, bool) {
	material := struct {
		Messages []Message
		Params   Params
		Tools    []Tool
		Schema   json.RawMessage
	}{r.Messages, r.Params, make([]Tool, len(r.Tools)), sorted(r.Schema)}
	for i, tool := range r.Tools {
		tool.Parameters = sorted(tool.Parameters)
		material.Tools[i] = tool
	}
	body, err := json.Marshal(material)
	if err != nil {
		return cacheKey{}, false
	}
	h := blake3.New(32, nil)
	for _, part := range [][]byte{[]byte(scope), []byte(t.Provider), []byte(t.Model), body} {
		// The length keeps one part from running into the next.
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	var k cacheKey
	h.Sum(k[:0])
	return k, true
}

// sorted orders the members of every object and drops white space. Numbers
// keep their digits: RFC 8785 would merge integers above 2^53.
func sorted(raw json.RawMessage) json.RawMessage {
	v := jsontext.Value(raw).Clone()
	if v.Format(jsontext.ReorderRawObjects(true), jsontext.CanonicalizeRawInts(false),
		jsontext.CanonicalizeRawFloats(false)) != nil {
		return raw
	}
	return json.RawMessage(v)
}

// cache is a least-recently-used map with an age limit for each entry.
type cache struct {
	cfg CacheConfig
	now func() time.Time

	mu      sync.Mutex
	order   *list.List // of *cacheEntry, the most recently used first
	entries map[cacheKey]*list.Element
	bytes   int64
}

type cacheEntry struct {
	key     cacheKey
	resp    *Response
	size    int64
	expires time.Time
}

func newCache(cfg CacheConfig, now func() time.Time) *cache {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultCacheBytes
	}
	return &cache{cfg: cfg, now: now, order: list.New(), entries: map[cacheKey]*list.Element{}}
}

// ttl is the lifetime of a request's answer; 0 means that it is neither
// looked up nor kept.
func (c *cache) ttl(r *Request) time.Duration {
	switch {
	case c.cfg.Capacity <= 0 || c.cfg.TTL <= 0 || r.Caller.CacheScope == "":
		return 0
	case r.CacheTTL != nil:
		return max(0, *r.CacheTTL)
	}
	return c.cfg.TTL
}

// get returns a copy of an answer that is still fresh, or nil.
func (c *cache) get(k cacheKey) *Response {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[k]
	if el == nil {
		return nil
	}
	e := el.Value.(*cacheEntry)
	if !c.now().Before(e.expires) {
		c.remove(el)
		return nil
	}
	c.order.MoveToFront(el)
	return e.resp.clone()
}

// put keeps a copy, marked as cached and free of charge for whoever gets it,
// and drops the answers that were used longest ago until both limits hold.
func (c *cache) put(k cacheKey, r *Response, ttl time.Duration) {
	e := &cacheEntry{key: k, resp: r.clone(), size: r.size(), expires: c.now().Add(ttl)}
	e.resp.Usage, e.resp.Cached = Usage{}, true
	if e.size > c.cfg.MaxBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.entries[k]; el != nil {
		c.remove(el)
	}
	c.entries[k] = c.order.PushFront(e)
	c.bytes += e.size
	for c.order.Len() > c.cfg.Capacity || c.bytes > c.cfg.MaxBytes {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(el *list.Element) {
	e := c.order.Remove(el).(*cacheEntry)
	delete(c.entries, e.key)
	c.bytes -= e.size
}

// size is what an answer weighs in memory, roughly.
func (r *Response) size() int64 {
	n := len(r.Text) + len(r.JSON) + 512
	for _, t := range r.ToolCalls {
		n += len(t.ID) + len(t.Name) + len(t.Arguments) + 128
	}
	return int64(n)
}

// keeps reports whether an answer is worth remembering: one that was cut or
// filtered might come out whole the next time.
func (r *Response) keeps() bool {
	return r.Finish == FinishStop || r.Finish == FinishToolCalls
}
