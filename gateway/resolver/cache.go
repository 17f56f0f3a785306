package resolver

import (
	"container/list"
	"sync"
	"time"
)

// Bounds of what is remembered of answers from elsewhere, for each VPC.
const (
	cacheEntries = 8192
	cacheBytes   = 4 << 20
	// entryOverhead is about what an entry takes beside its message.
	entryOverhead = 400
	maxTTL        = 24 * time.Hour
	// maxNegativeTTL is within what RFC 2308 section 5 recommends, one to three hours, on the careful side.
	maxNegativeTTL = 15 * time.Minute
	failureTTL     = 5 * time.Second
)

// cache remembers answers until they expire, the recently used ones where they are too many.
type cache struct {
	mu      sync.Mutex
	entries map[topic]*list.Element
	recent  list.List // of *cached, the most recently used first
	bytes   int
}

type cached struct {
	topic  topic
	answer *answer
}

func (c *cached) size() int { return len(c.answer.wire) + len(c.topic.name) + entryOverhead }

// get returns the answer to a topic, or nil.
func (c *cache) get(t topic, now time.Time) *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[t]
	if e == nil {
		return nil
	}
	if a := e.Value.(*cached).answer; now.Before(a.expires) {
		c.recent.MoveToFront(e)
		return a
	}
	c.remove(e)
	return nil
}

// put remembers an answer in place of an older one.
func (c *cache) put(t topic, a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[t]; e != nil {
		c.remove(e)
	}
	x := &cached{t, a}
	c.entries[t] = c.recent.PushFront(x)
	c.bytes += x.size()
	for c.bytes > cacheBytes || len(c.entries) > cacheEntries {
		c.remove(c.recent.Back())
	}
}

// remove is called with mu held.
func (c *cache) remove(e *list.Element) {
	x := c.recent.Remove(e).(*cached)
	c.bytes -= x.size()
	delete(c.entries, x.topic)
}

// clear forgets everything: answers of other servers than those to be asked now.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = map[topic]*list.Element{}
	c.recent.Init()
	c.bytes = 0
}

// len is the number of answers remembered.
func (c *cache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}
