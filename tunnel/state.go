package tunnel

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// deviceState is what a UAPI get tells (https://www.wireguard.com/xplatform/), without the private key.
type deviceState struct {
	port  uint16
	peers map[Key]*peerState
}

type peerState struct {
	status     PeerStatus
	preshared  PresharedKey
	keepalive  time.Duration
	allowedIPs map[netip.Prefix]bool
}

func readState(wg *device.Device) (*deviceState, error) {
	var buf bytes.Buffer
	if err := wg.IpcGetOperation(&buf); err != nil {
		return nil, err
	}
	return parseState(&buf)
}

// parseState reads the answer to a get. Keys that it does not know are skipped, as the protocol demands.
func parseState(r io.Reader) (*deviceState, error) {
	state := &deviceState{peers: make(map[Key]*peerState)}
	var peer *peerState
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		key, value, ok := strings.Cut(lines.Text(), "=")
		var err error
		switch {
		case lines.Text() == "":
			continue
		case !ok:
			err = fmt.Errorf("no %q", "=")
		case key == "public_key":
			peer, err = state.add(value)
		case peer != nil:
			err = peer.set(key, value)
		case key == "listen_port":
			var port uint64
			port, err = strconv.ParseUint(value, 10, 16)
			state.port = uint16(port)
		}
		if err != nil {
			return nil, fmt.Errorf("read device state: line %d: %s: %w", n, key, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read device state: %w", err)
	}
	return state, nil
}

func (s *deviceState) add(value string) (*peerState, error) {
	raw, err := parseHex(value)
	if err != nil {
		return nil, err
	}
	p := &peerState{allowedIPs: make(map[netip.Prefix]bool)}
	p.status.PublicKey = Key(raw)
	s.peers[p.status.PublicKey] = p
	return p, nil
}

func (p *peerState) set(key, value string) (err error) {
	switch key {
	case "preshared_key":
		p.preshared, err = parseHex(value)
	case "endpoint":
		p.status.Endpoint, err = netip.ParseAddrPort(value)
	case "last_handshake_time_sec":
		return p.addHandshake(value, time.Second)
	case "last_handshake_time_nsec":
		return p.addHandshake(value, time.Nanosecond)
	case "rx_bytes":
		p.status.ReceivedBytes, err = strconv.ParseUint(value, 10, 64)
	case "tx_bytes":
		p.status.SentBytes, err = strconv.ParseUint(value, 10, 64)
	case "persistent_keepalive_interval":
		var seconds uint64
		seconds, err = strconv.ParseUint(value, 10, 16)
		p.keepalive = time.Duration(seconds) * time.Second
	case "allowed_ip":
		var prefix netip.Prefix
		prefix, err = netip.ParsePrefix(value)
		p.allowedIPs[prefix] = true
	}
	return err
}

// addHandshake adds to the time of the last handshake, which comes as seconds and nanoseconds since 1970; zero is never.
func (p *peerState) addHandshake(value string, unit time.Duration) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n == 0 {
		return err
	}
	at := p.status.LastHandshake
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	if unit == time.Second {
		p.status.LastHandshake = time.Unix(at.Unix()+n, int64(at.Nanosecond()))
		return nil
	}
	p.status.LastHandshake = time.Unix(at.Unix(), int64(at.Nanosecond())+n)
	return nil
}

func parseHex(value string) (raw [keyLen]byte, err error) {
	if len(value) != hex.EncodedLen(keyLen) {
		return raw, fmt.Errorf("%d characters, want %d of hex", len(value), hex.EncodedLen(keyLen))
	}
	if _, err := hex.Decode(raw[:], []byte(value)); err != nil {
		return raw, fmt.Errorf("not hex")
	}
	return raw, nil
}

func sortPeers(peers []PeerStatus) {
	slices.SortFunc(peers, func(a, b PeerStatus) int { return compareKeys(a.PublicKey, b.PublicKey) })
}

func compareKeys(a, b Key) int { return bytes.Compare(a[:], b[:]) }
