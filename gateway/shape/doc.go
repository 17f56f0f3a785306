// Package shape enforces zone budgets: the bandwidth an endpoint may use in
// one zone, each direction apart, growing by itself between a baseline and a
// maximum.
//
// Nothing is dropped. A caller that wants to move bytes asks its Share how
// many it may move now; when the answer is zero the Share waits in line and
// its Waker is called once bytes have been granted. Waiting shares are served
// in deficit round-robin order, so that flows which always have bytes to move
// get equal parts whatever their speed. While nobody waits, asking costs two
// atomic operations and a clock reading, and takes no lock.
//
// The package is arithmetic: the clock and its timers are passed in.
package shape
