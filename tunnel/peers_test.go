package tunnel

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testKey returns a valid public key that sorts by n among the others.
func testKeys(n int) []Key {
	keys := make([]Key, n)
	for i := range keys {
		keys[i] = NewPrivateKey().Public()
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func TestIndexPeersRefuses(t *testing.T) {
	own := NewPrivateKey().Public()
	k := testKeys(2)
	tests := []struct {
		name  string
		peers []Peer
		want  string
	}{
		{"bad: all-zero key", []Peer{{Name: "a"}}, "low order"},
		{"bad: own key", []Peer{{Name: "a", PublicKey: own}}, "own"},
		{"bad: same key twice", []Peer{{Name: "a", PublicKey: k[0]}, {Name: "b", PublicKey: k[0]}}, `that of peer "a"`},
		{"bad: same prefix twice", []Peer{
			{Name: "a", PublicKey: k[0], AllowedIPs: prefixes("10.0.0.1/24")},
			{Name: "b", PublicKey: k[1], AllowedIPs: prefixes("10.0.0.2/24")},
		}, `10.0.0.0/24 belongs to peer "a"`},
		{"bad: no prefix", []Peer{{Name: "a", PublicKey: k[0], AllowedIPs: []netip.Prefix{{}}}}, "not a prefix"},
		{"bad: mapped prefix", []Peer{{Name: "a", PublicKey: k[0], AllowedIPs: prefixes("::ffff:10.0.0.0/104")}}, "not a prefix"},
		{"bad: negative keepalive", []Peer{{Name: "a", PublicKey: k[0], Keepalive: -time.Second}}, "keepalive"},
		{"bad: fraction of a second", []Peer{{Name: "a", PublicKey: k[0], Keepalive: time.Millisecond}}, "keepalive"},
		{"bad: long keepalive", []Peer{{Name: "a", PublicKey: k[0], Keepalive: 65536 * time.Second}}, "keepalive"},
		{"bad: endpoint without port", []Peer{{Name: "a", PublicKey: k[0], Endpoint: netip.MustParseAddrPort("192.0.2.1:0")}}, "endpoint"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := indexPeers(tt.peers, own)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

// The text of a change, step by step, from each state to the next.
func TestPlanPeers(t *testing.T) {
	k := testKeys(2)
	a, b := k[0], k[1]
	there, elsewhere := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("192.0.2.2:51820")
	psk := NewPresharedKey()
	state := func(peers ...Peer) *deviceState {
		s := &deviceState{peers: make(map[Key]*peerState)}
		for _, p := range peers {
			h := &peerState{preshared: p.PresharedKey, keepalive: p.Keepalive, allowedIPs: make(map[netip.Prefix]bool)}
			for _, prefix := range p.AllowedIPs {
				h.allowedIPs[prefix] = true
			}
			s.peers[p.PublicKey] = h
		}
		return s
	}
	tests := []struct {
		name         string
		before, want []Peer
		config       []string
		callable     []Key
	}{
		{
			name:     "add",
			want:     []Peer{{PublicKey: a, AllowedIPs: prefixes("10.0.0.1/32"), Keepalive: 25 * time.Second}, {PublicKey: b, Endpoint: there}},
			config:   []string{"public_key=A", "allowed_ip=10.0.0.1/32", "persistent_keepalive_interval=25", "public_key=B", "endpoint=192.0.2.1:51820"},
			callable: []Key{b},
		},
		{
			name:     "add one that was known",
			want:     []Peer{{PublicKey: a, Name: "known"}},
			config:   []string{"public_key=A", "endpoint=192.0.2.2:51820"},
			callable: []Key{a},
		},
		{
			name:   "no change",
			before: []Peer{{PublicKey: a, AllowedIPs: prefixes("10.0.0.1/32"), Endpoint: there, Keepalive: time.Second}},
			want:   []Peer{{PublicKey: a, AllowedIPs: prefixes("10.0.0.1/32"), Endpoint: there, Keepalive: time.Second}},
		},
		{
			name:   "every attribute",
			before: []Peer{{PublicKey: a, AllowedIPs: prefixes("10.0.0.1/32"), Endpoint: there, Keepalive: time.Second, PresharedKey: psk}},
			want:   []Peer{{PublicKey: a, AllowedIPs: prefixes("10.0.0.2/32"), Endpoint: elsewhere}},
			config: []string{"public_key=A", "preshared_key=" + strings.Repeat("0", 64), "endpoint=192.0.2.2:51820", "allowed_ip=10.0.0.2/32",
				"persistent_keepalive_interval=0", "public_key=A", "update_only=true", "allowed_ip=-10.0.0.1/32"},
		},
		{
			name:   "a prefix moves: added before it is removed",
			before: []Peer{{PublicKey: a, AllowedIPs: prefixes("10.0.0.0/24")}, {PublicKey: b}},
			want:   []Peer{{PublicKey: a}, {PublicKey: b, AllowedIPs: prefixes("10.0.0.0/24")}},
			config: []string{"public_key=B", "allowed_ip=10.0.0.0/24", "public_key=A", "update_only=true", "allowed_ip=-10.0.0.0/24"},
		},
		{
			name:   "a prefix moves to a new peer and the old one goes",
			before: []Peer{{PublicKey: a, AllowedIPs: prefixes("10.0.0.0/24")}},
			want:   []Peer{{PublicKey: b, AllowedIPs: prefixes("10.0.0.0/24")}},
			config: []string{"public_key=B", "allowed_ip=10.0.0.0/24", "public_key=A", "update_only=true", "remove=true"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			index := func(peers []Peer) map[Key]Peer {
				m := make(map[Key]Peer)
				for _, p := range peers {
					m[p.PublicKey] = p
				}
				return m
			}
			known := func(key Key) netip.AddrPort {
				if len(tt.want) == 1 && tt.want[0].Name == "known" && key == a {
					return elsewhere
				}
				return netip.AddrPort{}
			}
			change := planPeers(state(tt.before...), index(tt.before), index(tt.want), known)
			got := strings.NewReplacer(a.hex(), "A", b.hex(), "B").Replace(change.config)
			want := strings.Join(tt.config, "\n")
			if want != "" {
				want += "\n"
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.callable, change.callable); diff != "" {
				t.Errorf("callable (-want +got):\n%s", diff)
			}
		})
	}
}

// A change of other peers, and of a peer's own prefixes, must leave its session alone.
func TestSetPeersKeepsSessions(t *testing.T) {
	hub, one, two := startNode(t, Config{Name: "hub"}), startNode(t, Config{Name: "one"}), startNode(t, Config{Name: "two"})
	peerOne := Peer{Name: "one", PublicKey: one.PublicKey(), AllowedIPs: prefixes("10.0.0.1/32")}
	peerTwo := Peer{Name: "two", PublicKey: two.PublicKey(), AllowedIPs: prefixes("10.0.0.2/32")}
	for _, n := range []*node{one, two} {
		setPeers(t, n.Device, Peer{Name: "hub", PublicKey: hub.PublicKey(), AllowedIPs: prefixes("0.0.0.0/0"), Endpoint: hub.addr(t)})
	}
	setPeers(t, hub.Device, peerOne)
	send(t, one, hub, "10.0.0.1", "10.9.9.9")
	send(t, hub, one, "10.9.9.9", "10.0.0.1")
	find := func(key Key) PeerStatus {
		for _, p := range status(t, hub.Device).Peers {
			if p.PublicKey == key {
				return p
			}
		}
		return PeerStatus{}
	}
	before := find(one.PublicKey())
	if before.LastHandshake.IsZero() || before.Endpoint != one.addr(t) || before.ReceivedBytes == 0 || before.SentBytes == 0 || before.Name != "one" {
		t.Fatalf("status after a handshake: %+v", before)
	}

	setPeers(t, hub.Device, peerOne, peerTwo)
	send(t, two, hub, "10.0.0.2", "10.9.9.9")
	peerOne.AllowedIPs = prefixes("10.0.0.1/32", "10.1.0.0/16")
	setPeers(t, hub.Device, peerTwo, peerOne)
	send(t, one, hub, "10.1.2.3", "10.9.9.9")
	// The prefix moves to the other peer while both are connected.
	peerOne.AllowedIPs, peerTwo.AllowedIPs = prefixes("10.0.0.1/32"), prefixes("10.0.0.2/32", "10.1.0.0/16")
	setPeers(t, hub.Device, peerTwo, peerOne)
	send(t, two, hub, "10.1.2.3", "10.9.9.9")
	send(t, hub, two, "10.9.9.9", "10.1.2.3")
	send(t, one, hub, "10.0.0.1", "10.9.9.9")

	after := find(one.PublicKey())
	if after.LastHandshake != before.LastHandshake || after.Endpoint != before.Endpoint || after.ReceivedBytes <= before.ReceivedBytes {
		t.Errorf("the session was not kept:\nbefore %+v\nafter  %+v", before, after)
	}

	setPeers(t, hub.Device, peerTwo)
	if got := status(t, hub.Device).Peers; len(got) != 1 || got[0].PublicKey != two.PublicKey() {
		t.Errorf("peers after removal: %+v", got)
	}
	send(t, two, hub, "10.0.0.2", "10.9.9.9")
}

// A set that is refused changes nothing, and after Close nothing is accepted.
func TestSetPeersErrors(t *testing.T) {
	n := startNode(t, Config{})
	k := testKeys(2)
	setPeers(t, n.Device, Peer{PublicKey: k[0]})
	if err := n.SetPeers([]Peer{{PublicKey: k[1]}, {PublicKey: k[1]}}); err == nil {
		t.Error("a peer was accepted twice")
	}
	if got := status(t, n.Device).Peers; len(got) != 1 || got[0].PublicKey != k[0] {
		t.Errorf("peers: %+v", got)
	}
	n.end()
	if err := n.SetPeers(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("SetPeers after Close: %v", err)
	}
}

func TestVerifyPeers(t *testing.T) {
	k := testKeys(1)[0]
	want := map[Key]Peer{k: {Name: "a", PublicKey: k, AllowedIPs: prefixes("10.0.0.0/24"), Keepalive: time.Second}}
	good := peerState{keepalive: time.Second, allowedIPs: map[netip.Prefix]bool{prefixes("10.0.0.0/24")[0]: true}}
	for name, change := range map[string]func(*deviceState){
		"missing":        func(s *deviceState) { delete(s.peers, k) },
		"another":        func(s *deviceState) { s.peers = map[Key]*peerState{{1}: s.peers[k]} },
		"preshared key":  func(s *deviceState) { s.peers[k].preshared[0]++ },
		"keepalive":      func(s *deviceState) { s.peers[k].keepalive = 0 },
		"allowed ips":    func(s *deviceState) { s.peers[k].allowedIPs = nil },
		"one peer more":  func(s *deviceState) { s.peers[Key{1}] = new(peerState) },
		"no peer at all": func(s *deviceState) { s.peers = nil },
	} {
		h := good
		s := &deviceState{peers: map[Key]*peerState{k: &h}}
		if err := verifyPeers(s, want); err != nil {
			t.Fatal(err)
		}
		change(s)
		if err := verifyPeers(s, want); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}
