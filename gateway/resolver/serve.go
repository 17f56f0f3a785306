package resolver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// idleFor is how long a TCP connection may take for its next question, from the first byte to the last (RFC 7766 section
	// 6.2.3), and writeFor for taking an answer.
	idleFor  = 10 * time.Second
	writeFor = 5 * time.Second
	// pipelined bounds the questions of a connection that wait at one time; more are not read.
	pipelined = 16
)

// ServePacket answers the requests that a UDP socket receives. It closes the socket and returns nil when ctx ends; any other
// error is the socket's. What is known at once is answered at once, so that nothing of that waits for other servers.
func (r *Resolver) ServePacket(ctx context.Context, c net.PacketConn) error {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(serving, func() { c.Close() })()
	defer c.Close()
	buf := make([]byte, maxQuestion+1) // one byte more, so that what is longer is seen to be
	for {
		n, from, err := c.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive questions: %w", err)
		}
		client := addressOf(from)
		reply, q := r.handle(client, buf[:n], false)
		switch {
		case reply != nil:
			r.write(c, reply, from)
		case q != nil:
			r.wait(serving, &waiting, client, q, func(b []byte) { r.write(c, b, from) })
		}
	}
}

func (r *Resolver) write(c net.PacketConn, b []byte, to net.Addr) {
	if _, err := c.WriteTo(b, to); err != nil {
		r.stats.dropped(dropUnsent)
	}
}

// wait answers a question once other servers did. With too many that wait already it is refused.
func (r *Resolver) wait(ctx context.Context, waiting *sync.WaitGroup, client netip.Addr, q *question, send func([]byte)) {
	done, ok := r.limits.waits(client, time.Now())
	if !ok {
		send(r.refuse(q, dns.RcodeRefused))
		return
	}
	waiting.Go(func() {
		defer done()
		if a := r.resolve(ctx, client, q); a != nil {
			send(r.send(q, a, time.Now()))
			return
		}
		send(r.refuse(q, dns.RcodeRefused))
	})
}

func addressOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// ServeStream answers requests over TCP connections, several of one at a time and in any order (RFC 7766). It closes the
// listener and all connections and returns nil when ctx ends; any other error is the listener's.
func (r *Resolver) ServeStream(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(serving, func() { l.Close() })()
	defer l.Close()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept connections: %w", err)
		}
		client := addressOf(c.RemoteAddr())
		done, ok := r.limits.connects(client, time.Now())
		if !ok {
			r.stats.dropped(dropStreams)
			c.Close()
			continue
		}
		connections.Go(func() {
			defer done()
			r.stream(serving, c, client)
		})
	}
}

// stream serves one connection. Replies go through one goroutine, which a client that does not read stops, and with it the
// reading of questions.
func (r *Resolver) stream(ctx context.Context, c net.Conn, client netip.Addr) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	replies := make(chan []byte, pipelined)
	var writer, waiting sync.WaitGroup
	writer.Go(func() {
		for b := range replies {
			if c.SetWriteDeadline(time.Now().Add(writeFor)) != nil {
				continue
			}
			if _, err := c.Write(frame(b)); err != nil {
				r.stats.dropped(dropUnsent)
				c.Close() // the reader ends, and what it still sends goes nowhere
			}
		}
	})
	slots := make(chan struct{}, pipelined)
	for c.SetReadDeadline(time.Now().Add(idleFor)) == nil {
		b, err := readFrame(c, maxQuestion)
		if err != nil {
			break
		}
		reply, q := r.handle(client, b, true)
		if reply == nil && q == nil {
			break
		}
		if reply != nil {
			replies <- reply
			continue
		}
		slots <- struct{}{}
		r.wait(ctx, &waiting, client, q, func(b []byte) {
			replies <- b
			<-slots
		})
	}
	waiting.Wait()
	close(replies)
	writer.Wait()
}
