package resolver

import (
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// lookAgain is how long the file's time is trusted.
const lookAgain = 5 * time.Second

// SystemForwarders are the name servers of a resolv.conf(5) file. The zero value with a Path is ready for use.
type SystemForwarders struct {
	Path string

	mu      sync.Mutex
	looked  time.Time
	changed time.Time
	list    []netip.AddrPort
}

// List returns the servers. The file is read again, at most every 5 seconds, when it changed; while it cannot be read, the
// last list holds.
func (s *SystemForwarders) List() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.looked.IsZero() || now.Sub(s.looked) >= lookAgain {
		s.looked = now
		s.read()
	}
	return s.list
}

// read is called with mu held; the file is the system's own, and small.
func (s *SystemForwarders) read() {
	info, err := os.Stat(s.Path)
	if err != nil || info.ModTime().Equal(s.changed) {
		return
	}
	file, err := dns.ClientConfigFromFile(s.Path)
	if err != nil {
		return
	}
	s.changed, s.list = info.ModTime(), nil
	port, err := strconv.ParseUint(file.Port, 10, 16)
	if err != nil {
		return
	}
	for _, server := range file.Servers {
		if a, err := netip.ParseAddr(server); err == nil {
			s.list = append(s.list, netip.AddrPortFrom(a, uint16(port)))
		}
	}
}
