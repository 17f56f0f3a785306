package endpoint

import (
	"sync"
	"sync/atomic"
)

// Events that a task is kicked with. Several may be pending at once; a task
// sees each at least once after it was set.
const (
	evConsumerReadable uint32 = 1 << iota
	evConsumerWritable
	evConsumerHup
	evTargetReadable
	evTargetWritable
	evTargetHup
	evTargetError
	evBudgetIngress
	evBudgetEgress
	evDial
	evDialDue
	evProbe
	evLasts // the sweeper has seen the flow
	evEnd

	// scheduled is set while the task is queued or run, so that one worker
	// at a time runs it.
	scheduled uint32 = 1 << 31
)

// runnable is what a worker runs. It returns events that it did not finish
// with because others should have their turn.
type runnable interface {
	run(events uint32, w *worker) (again uint32)
}

// task is the place of a flow or a listener in the run queue.
type task struct {
	state atomic.Uint32
	next  *task
	owner runnable
}

// kick makes a worker run t with events. It is called with locks of gVisor
// held (waiter callbacks), so it only queues.
func (t *task) kick(q *runQueue, events uint32) {
	if t.state.Or(events|scheduled)&scheduled == 0 {
		q.push(t)
	}
}

// runQueue holds tasks with pending events, first come first served.
type runQueue struct {
	mu         sync.Mutex
	ready      sync.Cond
	head, tail *task
	idle       int
	closed     bool
}

func (q *runQueue) push(t *task) {
	q.mu.Lock()
	if q.tail == nil {
		q.head = t
	} else {
		q.tail.next = t
	}
	q.tail = t
	wake := q.idle > 0
	q.mu.Unlock()
	if wake {
		q.ready.Signal()
	}
}

// pop waits for a task; nil means the queue is closed and empty.
func (q *runQueue) pop() *task {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == nil {
		if q.closed {
			return nil
		}
		q.idle++
		q.ready.Wait()
		q.idle--
	}
	t := q.head
	q.head, t.next = t.next, nil
	if q.head == nil {
		q.tail = nil
	}
	return t
}

func (q *runQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.ready.Broadcast()
}

// worker runs tasks. Its fields are scratch space that no flow keeps.
type worker struct {
	gather  gather
	parts   partsPayload
	fill    fdPayload
	discard discard
	first   firstBytes
}

func (w *worker) work(q *runQueue) {
	for t := q.pop(); t != nil; t = q.pop() {
		events := t.state.And(scheduled) &^ scheduled
		if again := t.owner.run(events, w); again != 0 {
			t.state.Or(again)
			q.push(t)
			continue
		}
		if !t.state.CompareAndSwap(scheduled, 0) {
			q.push(t) // kicked while it ran
		}
	}
}
