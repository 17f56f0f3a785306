package clienthello

import "strings"

const (
	randomSize    = 32
	maxSessionID  = 32
	extensionName = 0 // server_name
	nameTypeHost  = 0 // host_name
	maxServerName = 253
	// extensionECH is encrypted_client_hello.
	extensionECH = 0xfe0d
)

// parse reads the body of a ClientHello. It is as strict as servers are: what one of them might read otherwise is
// false.
func parse(body []byte) (hello Hello, ok bool) {
	r := reader{rest: body}
	r.skip(2 + randomSize) // the version is not to be relied on
	session := r.vector(1)
	suites := r.vector(2)
	compression := r.vector(1)
	if r.failed || len(session) > maxSessionID || len(suites) == 0 || len(suites)%2 != 0 || len(compression) == 0 {
		return Hello{}, false
	}
	if len(r.rest) == 0 {
		return Hello{}, true // clients of before TLS 1.2 may have no extensions
	}
	extensions := reader{rest: r.vector(2)}
	if r.failed || len(r.rest) > 0 {
		return Hello{}, false
	}
	named := false
	for len(extensions.rest) > 0 {
		kind, data := extensions.number(2), extensions.vector(2)
		switch {
		case extensions.failed, kind == extensionName && named:
			return Hello{}, false
		case kind == extensionName:
			named = true
			if hello.ServerName, ok = serverName(data); !ok {
				return Hello{}, false
			}
		case kind == extensionECH:
			hello.Encrypted = true
		}
	}
	return hello, true
}

// serverName reads the extension server_name, which has exactly one name.
func serverName(data []byte) (string, bool) {
	r := reader{rest: data}
	list := reader{rest: r.vector(2)}
	kind, name := list.number(1), list.vector(2)
	if r.failed || list.failed || len(r.rest) > 0 || len(list.rest) > 0 || kind != nameTypeHost {
		return "", false
	}
	text := strings.ToLower(strings.TrimSuffix(string(name), "."))
	return text, validName(text)
}

// validName tells whether a name has letters, digits, hyphens, underscores and single dots only.
func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c == '.' && (i == 0 || name[i-1] == '.') {
			return false
		}
		if c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return name != "" && len(name) <= maxServerName && name[len(name)-1] != '.'
}

// reader takes bytes apart.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.failed, r.rest = true, nil
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) skip(n int) { r.take(n) }

// number reads a number of some bytes.
func (r *reader) number(size int) int {
	n := 0
	for _, b := range r.take(size) {
		n = n<<8 | int(b)
	}
	return n
}

// vector reads bytes after their number, which has some bytes itself.
func (r *reader) vector(size int) []byte { return r.take(r.number(size)) }
