package notify

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	hostName = regexp.MustCompile(`^([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.?$`)
	// numeric is a last label that inet_aton(3) and browsers read as a number, and with it the host as
	// an address in a spelling of its own.
	numeric = regexp.MustCompile(`(^|\.)([0-9]+|0[xX][0-9a-fA-F]*)\.?$`)
)

const maxHostName = 253

// CheckURL says what is wrong with the URL of a receiver, in words that follow the URL; nil if
// nothing is. An address in it is checked by the guard; a name is not resolved, since it may mean
// something else at the next dial.
func CheckURL(text string, g *Guard) error {
	u, err := url.Parse(text)
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("has characters outside printable ASCII; escape them")
	case err != nil:
		return errors.New("is not a URL such as https://example.com/hook")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must begin with https:// or http://")
	case u.Opaque != "" || u.Hostname() == "":
		return errors.New("has no host; use one such as https://example.com/hook")
	case u.User != nil:
		return errors.New("must not hold a user or password; receivers know the sender by the signature")
	case strings.Contains(text, "#"):
		return errors.New("must not have a fragment")
	}
	if err := checkPort(u); err != nil {
		return err
	}
	return checkHost(u.Hostname(), g)
}

func checkPort(u *url.URL) error {
	if strings.HasSuffix(u.Host, ":") {
		return errors.New("has a colon and no port")
	}
	if u.Port() == "" {
		return nil
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
		return fmt.Errorf("has port %s, which is outside 1 to 65535", u.Port())
	}
	return nil
}

func checkHost(host string, g *Guard) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.Check(addr)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	switch {
	case numeric.MatchString(host):
		return errors.New("has an address in an unusual spelling; use four decimal numbers, such as 192.0.2.7")
	case !hostName.MatchString(host) || len(name) > maxHostName:
		return errors.New("has a host that is neither an address nor a DNS name")
	case name == "localhost" || strings.HasSuffix(name, ".localhost"): // RFC 6761
		return g.Check(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	return nil
}
