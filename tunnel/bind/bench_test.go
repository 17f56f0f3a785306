package bind

import (
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
)

// BenchmarkBind sends batches of 45 full datagrams over loopback and receives them, beside wireguard-go's own socket.
func BenchmarkBind(b *testing.B) {
	b.Run("own", func(b *testing.B) {
		benchmarkBind(b, New(Config{Address: loopback}), New(Config{Address: loopback}))
	})
	b.Run("std", func(b *testing.B) {
		benchmarkBind(b, conn.NewStdNetBind(), conn.NewStdNetBind())
	})
}

func benchmarkBind(b *testing.B, from, to conn.Bind) {
	const count, size = 45, 1424
	open(b, from)
	receive, addr := open(b, to)
	ep := endpointFor(b, from, netip.AddrPortFrom(loopback, addr.Port()))
	// WireGuard's buffers have room to spare, into which the standard bind gathers a train.
	send := make([][]byte, count)
	arrays := make([][]byte, count)
	for i := range send {
		arrays[i] = make([]byte, 65535)
	}
	bufs, sizes, eps := buffers(128)
	b.SetBytes(count * size)
	b.ReportAllocs()
	for b.Loop() {
		for i := range send {
			send[i] = arrays[i][:size]
		}
		if err := from.Send(send, ep); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < count; {
			n, err := receive(bufs, sizes, eps)
			if err != nil {
				b.Fatal(err)
			}
			for _, size := range sizes[:n] {
				if size > 0 {
					got++
				}
			}
		}
	}
}
