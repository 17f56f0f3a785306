package api

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// Of every subnet the first four addresses and the last are reserved, as in AWS (network, VPC
// router, DNS, future use, broadcast):
// https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
const (
	reservedFirst = 4
	reservedLast  = 1
)

// What keeps an address from being given out. The address rules wrap these.
var (
	errAddressSyntax     = errors.New("is not an IPv4 address")
	errAddressOutside    = errors.New("lies outside the subnet")
	errAddressReserved   = errors.New("is reserved in the subnet")
	errAddressInUse      = errors.New("is in use")
	errAddressExhaustion = errors.New("has no free address")
)

// slots is a set of small numbers of which some are taken, in a bitmap: 8 KiB for a /16.
type slots struct {
	size  int
	taken []uint64
	count int
}

func newSlots(size int) *slots {
	return &slots{size: size, taken: make([]uint64, (size+63)/64)}
}

// take marks a number and says whether it was free. Numbers out of range never are.
func (s *slots) take(n int) bool {
	if n < 0 || n >= s.size || s.taken[n/64]&(1<<(n%64)) != 0 {
		return false
	}
	s.taken[n/64] |= 1 << (n % 64)
	s.count++
	return true
}

// free gives how many numbers are left.
func (s *slots) free() int { return s.size - s.count }

// nth gives the free number that k smaller free ones precede; -1 if there is none.
func (s *slots) nth(k int) int {
	for i, word := range s.taken {
		open := ^word
		if rest := s.size - 64*i; rest < 64 {
			open &= 1<<rest - 1
		}
		if n := bits.OnesCount64(open); k >= n {
			k -= n
			continue
		}
		for ; k > 0; k-- {
			open &= open - 1
		}
		return 64*i + bits.TrailingZeros64(open)
	}
	return -1
}

// addressPool is a subnet and which of its addresses are taken, as far as its reader knows. It is
// used by one goroutine.
type addressPool struct {
	subnet netip.Prefix
	base   uint32
	slots  *slots
}

// newAddressPool gives the pool of an IPv4 subnet of /16 or longer, with nothing but the reserved
// addresses taken. A subnet of fewer than six addresses has none to give.
func newAddressPool(subnet netip.Prefix) *addressPool {
	size := 1 << (32 - subnet.Bits())
	p := &addressPool{subnet: subnet, base: addressNumber(subnet.Addr()), slots: newSlots(size)}
	for n := range min(reservedFirst, size) {
		p.slots.take(n)
	}
	for n := max(0, size-reservedLast); n < size; n++ {
		p.slots.take(n)
	}
	return p
}

// available gives how many addresses can still be given out.
func (p *addressPool) available() int { return p.slots.free() }

// mark notes that an address is taken. Addresses of other subnets change nothing.
func (p *addressPool) mark(addr netip.Addr) {
	if p.subnet.Contains(addr) {
		p.slots.take(int(addressNumber(addr) - p.base))
	}
}

// take gives out the lowest free address, or with skip the one that this many free ones precede,
// as far as there are so many.
func (p *addressPool) take(skip int) (netip.Addr, error) {
	if p.available() == 0 {
		return netip.Addr{}, errAddressExhaustion
	}
	n := p.slots.nth(skip % p.available())
	p.slots.take(n)
	return numberAddress(p.base + uint32(n)), nil
}

// designate gives out an address that the caller has chosen.
func (p *addressPool) designate(addr netip.Addr) error {
	switch {
	case !p.subnet.Contains(addr):
		return fmt.Errorf("%w %s", errAddressOutside, p.subnet)
	case p.reserved(addr):
		return fmt.Errorf("%w %s: its first four addresses and its last are", errAddressReserved, p.subnet)
	case !p.slots.take(int(addressNumber(addr) - p.base)):
		return errAddressInUse
	}
	return nil
}

func (p *addressPool) reserved(addr netip.Addr) bool {
	n := int(addressNumber(addr) - p.base)
	return n < reservedFirst || n >= p.slots.size-reservedLast
}

// parseAddress reads an IPv4 address in its canonical spelling, the only one accepted: "010.0.0.1",
// "0x7f.1" and addresses embedded in IPv6 mean different hosts to different readers.
func parseAddress(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() {
		return netip.Addr{}, fmt.Errorf("%w in dotted decimal form, such as 10.0.1.20", errAddressSyntax)
	}
	return addr, nil
}

func addressNumber(addr netip.Addr) uint32 {
	b := addr.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func numberAddress(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// addressClaimPrefix gives a prefix of the claim keys of all addresses of a subnet. Since keys are
// text it covers whole octets and so may cover neighbours, too.
func addressClaimPrefix(vpc string, subnet netip.Prefix) string {
	octets := strings.SplitAfter(subnet.Addr().String(), ".")
	return vpc + "/" + strings.Join(octets[:min(subnet.Bits()/8, 3)], "")
}

// readAddressPool gives the pool of a subnet as the claims in the store have it.
func readAddressPool(ctx context.Context, s *store.Store, vpc string, subnet netip.Prefix) (*addressPool, error) {
	claims, _, err := s.Claims(ctx, resource.ClaimAddress, addressClaimPrefix(vpc, subnet))
	if err != nil {
		return nil, fmt.Errorf("read addresses in use in %s: %w", subnet, err)
	}
	pool := newAddressPool(subnet)
	for _, claim := range claims {
		if addr, err := netip.ParseAddr(claim.Key[len(vpc)+1:]); err == nil {
			pool.mark(addr)
		}
	}
	return pool, nil
}

// allocationSkip gives how many free numbers the n-th try (from 0) of owner leaves out. The first
// two take the lowest. Then many callers are after the same number, of whom one wins each time; so
// the next tries spread over a window that doubles.
func allocationSkip(owner string, try int) int {
	if try < 2 {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(owner + strconv.Itoa(try)))
	return int(h.Sum32() % (1 << min(try, 7)))
}

// lostClaim says whether a commit failed because another caller claimed a key of one of these kinds
// first.
func lostClaim(err error, kinds ...string) bool {
	failed, ok := errors.AsType[*store.ConditionError](err)
	return ok && errors.Is(failed.Err, store.ErrClaimed) && slices.Contains(kinds, failed.Claim.Kind)
}
