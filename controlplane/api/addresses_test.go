package api

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
)

func TestAddressPoolGivesLowestFreeFirst(t *testing.T) {
	pool := newAddressPool(netip.MustParsePrefix("10.0.1.0/28"))
	pool.mark(netip.MustParseAddr("10.0.1.5"))
	pool.mark(netip.MustParseAddr("10.0.2.6")) // of another subnet
	if got := pool.available(); got != 10 {
		t.Errorf("available %d, want 10: 16 less 5 reserved and 1 in use", got)
	}
	var got []string
	for {
		addr, err := pool.take(0)
		if err != nil {
			if !errors.Is(err, errAddressExhaustion) {
				t.Errorf("error %v, want exhaustion", err)
			}
			break
		}
		got = append(got, addr.String())
	}
	want := "[10.0.1.4 10.0.1.6 10.0.1.7 10.0.1.8 10.0.1.9 10.0.1.10 10.0.1.11 10.0.1.12 10.0.1.13 10.0.1.14]"
	if fmt.Sprint(got) != want {
		t.Errorf("addresses %v, want %s", got, want)
	}
}

func TestDesignatedAddress(t *testing.T) {
	tests := []struct {
		name, addr string
		want       error
	}{
		{"OK lowest", "10.0.1.4", nil},
		{"OK highest", "10.0.1.14", nil},
		{"bad network", "10.0.1.0", errAddressReserved},
		{"bad router", "10.0.1.1", errAddressReserved},
		{"bad resolver", "10.0.1.2", errAddressReserved},
		{"bad future use", "10.0.1.3", errAddressReserved},
		{"bad broadcast", "10.0.1.15", errAddressReserved},
		{"bad below", "10.0.0.255", errAddressOutside},
		{"bad above", "10.0.1.16", errAddressOutside},
		{"bad in use", "10.0.1.7", errAddressInUse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pool := newAddressPool(netip.MustParsePrefix("10.0.1.0/28"))
			pool.mark(netip.MustParseAddr("10.0.1.7"))
			if err := pool.designate(netip.MustParseAddr(tt.addr)); !errors.Is(err, tt.want) {
				t.Errorf("designate %s: %v, want %v", tt.addr, err, tt.want)
			}
		})
	}
}

func TestAddressClaimPrefix(t *testing.T) {
	tests := []struct{ subnet, want string }{
		{"10.0.0.0/16", "accounts/a/vpcs/v/10.0."},
		{"10.0.64.0/20", "accounts/a/vpcs/v/10.0."},
		{"10.0.7.0/24", "accounts/a/vpcs/v/10.0.7."},
		{"10.0.7.16/28", "accounts/a/vpcs/v/10.0.7."},
	}
	for _, tt := range tests {
		if got := addressClaimPrefix("accounts/a/vpcs/v", netip.MustParsePrefix(tt.subnet)); got != tt.want {
			t.Errorf("prefix of %s: %q, want %q", tt.subnet, got, tt.want)
		}
	}
}

func TestAllocationSkipKeepsLowestFirstWithoutContention(t *testing.T) {
	for try := range 2 {
		if got := allocationSkip("accounts/a/vpcs/v/endpoints/e", try); got != 0 {
			t.Errorf("try %d skips %d, want 0", try, got)
		}
	}
	seen := map[int]bool{}
	for i := range 100 {
		seen[allocationSkip(fmt.Sprint("owner", i), 8)] = true
	}
	if len(seen) < 50 {
		t.Errorf("100 owners spread over %d numbers only", len(seen))
	}
}

// naivePool is what the pool must agree with: a map and a loop.
type naivePool struct {
	subnet netip.Prefix
	taken  map[netip.Addr]bool
}

func (n *naivePool) free() []netip.Addr {
	var all []netip.Addr
	for a := n.subnet.Addr(); n.subnet.Contains(a); a = a.Next() {
		all = append(all, a)
	}
	if len(all) < reservedFirst+reservedLast {
		return nil
	}
	var open []netip.Addr
	for _, a := range all[reservedFirst : len(all)-reservedLast] {
		if !n.taken[a] {
			open = append(open, a)
		}
	}
	return open
}

func FuzzAddressPool(f *testing.F) {
	f.Add(uint8(28), []byte{0, 5, 200, 1, 7, 255})
	f.Add(uint8(22), []byte{9, 9, 9, 80, 1, 1, 1})
	f.Add(uint8(32), []byte{1})
	f.Fuzz(func(t *testing.T, length uint8, ops []byte) {
		length = 22 + length%11
		subnet := netip.PrefixFrom(netip.MustParseAddr("10.1.4.0"), int(length))
		pool, naive := newAddressPool(subnet), &naivePool{subnet, map[netip.Addr]bool{}}
		for i, op := range ops[:min(len(ops), 64)] {
			addr := numberAddress(pool.base + uint32(op)*uint32(i+1)%2048)
			open := naive.free()
			if pool.available() != len(open) {
				t.Fatalf("available %d, want %d", pool.available(), len(open))
			}
			switch op % 3 {
			case 0:
				got, err := pool.take(int(op / 3))
				if (err == nil) != (len(open) > 0) {
					t.Fatalf("take: %v with %d free", err, len(open))
				}
				if err == nil && got != open[int(op/3)%len(open)] {
					t.Fatalf("take(%d) = %s, want %s", op/3, got, open[int(op/3)%len(open)])
				}
				naive.taken[got] = true
			case 1:
				pool.mark(addr)
				naive.taken[addr] = true
			case 2:
				free := false
				for _, o := range open {
					free = free || o == addr
				}
				if err := pool.designate(addr); (err == nil) != free {
					t.Fatalf("designate %s: %v, free %v", addr, err, free)
				}
				naive.taken[addr] = true
			}
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "010.0.0.1", "127.1", "::ffff:10.0.0.1", "1", "", "10.0.0.1%eth0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addr, err := parseAddress(text)
		if err == nil && (addr.String() != text || !addr.Is4()) {
			t.Fatalf("%q read as %s", text, addr)
		}
	})
}

func BenchmarkAddressPoolLastOf16(b *testing.B) {
	pool := newAddressPool(netip.MustParsePrefix("10.0.0.0/16"))
	for pool.available() > 1 {
		pool.take(0)
	}
	for b.Loop() {
		if pool.slots.nth(0) < 0 {
			b.Fatal("no address left")
		}
	}
}
