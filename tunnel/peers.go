package tunnel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// indexPeers checks a set of peers and brings its prefixes into the form that WireGuard reports.
func indexPeers(peers []Peer, own Key) (map[Key]Peer, error) {
	index := make(map[Key]Peer, len(peers))
	owner := make(map[netip.Prefix]Key)
	for _, p := range peers {
		if err := p.check(own); err != nil {
			return nil, fmt.Errorf("peer %q: %w", p.Name, err)
		}
		if other, ok := index[p.PublicKey]; ok {
			return nil, fmt.Errorf("peer %q: public key is that of peer %q", p.Name, other.Name)
		}
		allowed := make([]netip.Prefix, 0, len(p.AllowedIPs))
		for _, prefix := range p.AllowedIPs {
			if !prefix.IsValid() || prefix.Addr().Is4In6() {
				return nil, fmt.Errorf("peer %q: allowed ip %v is not a prefix", p.Name, prefix)
			}
			prefix = prefix.Masked()
			if other, ok := owner[prefix]; ok && other != p.PublicKey {
				return nil, fmt.Errorf("peer %q: allowed ip %v belongs to peer %q", p.Name, prefix, index[other].Name)
			}
			owner[prefix] = p.PublicKey
			allowed = append(allowed, prefix)
		}
		p.AllowedIPs = allowed
		index[p.PublicKey] = p
	}
	return index, nil
}

func (p Peer) check(own Key) error {
	if err := p.PublicKey.check(); err != nil {
		return err
	}
	if p.PublicKey == own {
		return errors.New("public key is the device's own")
	}
	if p.Keepalive < 0 || p.Keepalive > math.MaxUint16*time.Second || p.Keepalive%time.Second != 0 {
		return fmt.Errorf("keepalive %v is not whole seconds up to %d", p.Keepalive, math.MaxUint16)
	}
	if p.Endpoint != (netip.AddrPort{}) && (!p.Endpoint.IsValid() || p.Endpoint.Port() == 0) {
		return fmt.Errorf("endpoint %v is not an address and port", p.Endpoint)
	}
	return nil
}

// deviceConfig is the UAPI set that a new device starts with.
func deviceConfig(key PrivateKey, port uint16) string {
	return fmt.Sprintf("private_key=%s\nlisten_port=%d\n", hex.EncodeToString(key[:]), port)
}

// applyPeers changes the device's peers to want, given those that were set before, and returns the added ones that
// can be called. What the device has is read from it, so that a change that broke off halfway is repaired by the next.
func applyPeers(wg *device.Device, before, want map[Key]Peer, known *endpointStore) (added []Key, err error) {
	have, err := readState(wg)
	if err != nil {
		return nil, err
	}
	change := planPeers(have, before, want, known.get)
	if change.config == "" {
		return nil, nil
	}
	if err := wg.IpcSet(change.config); err != nil {
		return nil, err
	}
	have, err = readState(wg)
	if err != nil {
		return nil, err
	}
	return change.callable, verifyPeers(have, want)
}

// peerChange is a UAPI set and what follows from it.
type peerChange struct {
	config   string
	callable []Key // added, with a known endpoint
}

// planPeers composes the UAPI set that leads from have to want, in three steps: what is added, which also moves a prefix from
// its former owner without a moment in which nobody holds it; prefixes that peers lose; peers that go. It never replaces
// anything as a whole, because that would drop sessions (peers.md finding 35).
func planPeers(have *deviceState, before, want map[Key]Peer, known func(Key) netip.AddrPort) peerChange {
	var change peerChange
	var buf bytes.Buffer
	keys := slices.SortedFunc(maps.Keys(want), compareKeys)
	for _, key := range keys {
		p := want[key]
		if have.peers[key] == nil && !p.Endpoint.IsValid() {
			p.Endpoint = known(key)
		}
		if have.peers[key] == nil && p.Endpoint.IsValid() {
			change.callable = append(change.callable, key)
		}
		writeAdditions(&buf, p, have.peers[key], before[key].Endpoint)
	}
	for _, key := range keys {
		writeRemovals(&buf, want[key], have.peers[key])
	}
	for _, key := range slices.SortedFunc(maps.Keys(have.peers), compareKeys) {
		if _, ok := want[key]; !ok {
			fmt.Fprintf(&buf, "public_key=%s\nupdate_only=true\nremove=true\n", key.hex())
		}
	}
	change.config = buf.String()
	return change
}

// writeAdditions writes what p has more than, or other than, have, which is nil for a new peer.
func writeAdditions(buf *bytes.Buffer, p Peer, have *peerState, endpointBefore netip.AddrPort) {
	start := buf.Len()
	fmt.Fprintf(buf, "public_key=%s\n", p.PublicKey.hex())
	empty := buf.Len()
	if have == nil {
		have, empty = new(peerState), -1 // even a peer without any attribute is to be created
	}
	if p.PresharedKey != have.preshared {
		fmt.Fprintf(buf, "preshared_key=%s\n", hex.EncodeToString(p.PresharedKey[:]))
	}
	if p.Endpoint.IsValid() && p.Endpoint != endpointBefore {
		fmt.Fprintf(buf, "endpoint=%v\n", p.Endpoint)
	}
	for _, prefix := range p.AllowedIPs {
		if !have.allowedIPs[prefix] {
			fmt.Fprintf(buf, "allowed_ip=%v\n", prefix)
		}
	}
	if p.Keepalive != have.keepalive {
		fmt.Fprintf(buf, "persistent_keepalive_interval=%d\n", p.Keepalive/time.Second)
	}
	if buf.Len() == empty {
		buf.Truncate(start)
	}
}

// writeRemovals writes the prefixes that p loses. One that another peer has taken over meanwhile is not touched: WireGuard
// removes a prefix only from its owner.
func writeRemovals(buf *bytes.Buffer, p Peer, have *peerState) {
	if have == nil {
		return
	}
	start := buf.Len()
	fmt.Fprintf(buf, "public_key=%s\nupdate_only=true\n", p.PublicKey.hex())
	empty := buf.Len()
	for _, prefix := range slices.SortedFunc(maps.Keys(have.allowedIPs), netip.Prefix.Compare) {
		if !slices.Contains(p.AllowedIPs, prefix) {
			fmt.Fprintf(buf, "allowed_ip=-%v\n", prefix)
		}
	}
	if buf.Len() == empty {
		buf.Truncate(start)
	}
}

// verifyPeers checks that the device has become what was wanted: a UAPI set is not atomic, and parts of it can be without
// effect silently.
func verifyPeers(have *deviceState, want map[Key]Peer) error {
	if len(have.peers) != len(want) {
		return fmt.Errorf("device has %d peers, want %d", len(have.peers), len(want))
	}
	for key, p := range want {
		h := have.peers[key]
		switch {
		case h == nil:
			return fmt.Errorf("peer %q is missing", p.Name)
		case h.preshared != p.PresharedKey:
			return fmt.Errorf("peer %q has another preshared key", p.Name)
		case h.keepalive != p.Keepalive:
			return fmt.Errorf("peer %q has keepalive %v, want %v", p.Name, h.keepalive, p.Keepalive)
		}
		want := make(map[netip.Prefix]bool, len(p.AllowedIPs))
		for _, prefix := range p.AllowedIPs {
			want[prefix] = true
		}
		if !maps.Equal(h.allowedIPs, want) {
			return fmt.Errorf("peer %q has allowed ips %v, want %v", p.Name,
				slices.SortedFunc(maps.Keys(h.allowedIPs), netip.Prefix.Compare), p.AllowedIPs)
		}
	}
	return nil
}
