package clienthello

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// record keeps what a client sends first.
type record struct {
	net.Conn
	sent bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.sent.Write(b)
	return 0, io.ErrClosedPipe // the client gives up
}

// helloOf is what package tls sends first.
func helloOf(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	r := &record{}
	if err := tls.Client(r, c).HandshakeContext(context.Background()); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	return r.sent.Bytes()
}

// inRecords cuts a ClientHello of one record into records of a size.
func inRecords(hello []byte, size int) []byte {
	var b []byte
	for part := range slices.Chunk(hello[recordHeader:], size) {
		b = append(b, hello[:3]...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
		b = append(b, part...)
	}
	return b
}

// made is a ClientHello of the test's own.
func made(extensions ...[]byte) []byte {
	body := append([]byte{3, 3}, make([]byte, randomSize)...)
	body = append(body, 0, 0, 4, 0x1a, 0x1a, 0x13, 0x01, 1, 0) // a suite of GREASE, RFC 8701
	if all := bytes.Join(extensions, nil); len(extensions) > 0 {
		body = binary.BigEndian.AppendUint16(body, uint16(len(all)))
		body = append(body, all...)
	}
	return wrapped(body)
}

func wrapped(body []byte) []byte {
	message := append([]byte{messageHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	b := binary.BigEndian.AppendUint16([]byte{recordHandshake, 3, 1}, uint16(len(message)))
	return append(b, message...)
}

func extension(kind uint16, data ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

func nameExtension(names ...string) []byte {
	var list []byte
	for _, n := range names {
		list = append(list, nameTypeHost)
		list = binary.BigEndian.AppendUint16(list, uint16(len(n)))
		list = append(list, n...)
	}
	return extension(extensionName, append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...)...)
}

const bucket = "reports.s3.us-east-1.amazonaws.com"

func TestRead(t *testing.T) {
	grease, ech := extension(0x2a2a, 0), extension(extensionECH, 0, 1, 2)
	standard := helloOf(t, &tls.Config{ServerName: bucket})
	for name, c := range map[string]struct {
		b     []byte
		state State
		want  Hello
	}{
		"package tls":             {standard, Complete, Hello{ServerName: bucket}},
		"TLS 1.2":                 {helloOf(t, &tls.Config{ServerName: bucket, MaxVersion: tls.VersionTLS12}), Complete, Hello{ServerName: bucket}},
		"without a name":          {helloOf(t, &tls.Config{InsecureSkipVerify: true}), Complete, Hello{}},
		"an address":              {helloOf(t, &tls.Config{ServerName: "192.0.2.1"}), Complete, Hello{}},
		"in records of 100 bytes": {inRecords(standard, 100), Complete, Hello{ServerName: bucket}},
		"more follows":            {append(slices.Clone(standard), 20, 3, 3, 0, 1, 1), Complete, Hello{ServerName: bucket}},
		"in many records":         {inRecords(standard, 1), Malformed, Hello{}},
		"no extensions":           {made(), Complete, Hello{}},
		"GREASE":                  {made(grease, nameExtension("a.example"), extension(0x3a3a)), Complete, Hello{ServerName: "a.example"}},
		"encrypted inside":        {made(nameExtension("public.example"), ech), Complete, Hello{ServerName: "public.example", Encrypted: true}},
		"capitals":                {made(nameExtension("A.Example")), Complete, Hello{ServerName: "a.example"}},
		"final dot":               {made(nameExtension("a.example.")), Complete, Hello{ServerName: "a.example"}},
		"two names":               {made(nameExtension("a.example", "b.example")), Malformed, Hello{}},
		"named twice":             {made(nameExtension("a.example"), nameExtension("a.example")), Malformed, Hello{}},
		"no name in the list":     {made(nameExtension()), Malformed, Hello{}},
		"empty name":              {made(nameExtension("")), Malformed, Hello{}},
		"a dot":                   {made(nameExtension(".")), Malformed, Hello{}},
		"two dots":                {made(nameExtension("a..example")), Malformed, Hello{}},
		"NUL in the name":         {made(nameExtension("a.example\x00.b.example")), Malformed, Hello{}},
		"look-alike":              {made(nameExtension("аpple.example")), Malformed, Hello{}},
		"long name":               {made(nameExtension(strings.Repeat("a.", 126) + "a")), Complete, Hello{ServerName: strings.Repeat("a.", 126) + "a"}},
		"too long name":           {made(nameExtension(strings.Repeat("a.", 126) + "aa")), Malformed, Hello{}},
		"name of another type":    {made(extension(extensionName, 0, 4, 1, 0, 1, 'a')), Malformed, Hello{}},
		"cut extension":           {made(extension(0x2a2a, 1)[:4], grease), Malformed, Hello{}},
		"extension too long":      {made([]byte{0, 0, 255, 255}), Malformed, Hello{}},
		"bytes after extensions":  {wrapped(append(made(grease)[recordHeader+messageHeader:], 0)), Malformed, Hello{}},
		"odd cipher suites":       {wrapped(append(append([]byte{3, 3}, make([]byte, 33)...), 0, 3, 1, 2, 3, 1, 0, 0, 0)), Malformed, Hello{}},
		"largest":                 {made(extension(0x2a2a, make([]byte, 16000)...), nameExtension("a.example")), Complete, Hello{ServerName: "a.example"}},
		"too large":               {inRecords(made(extension(0x2a2a, make([]byte, 17000)...)), 9000), Malformed, Hello{}},
		"too small":               {[]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, Malformed, Hello{}},
		"empty record":            {[]byte{22, 3, 1, 0, 0}, Malformed, Hello{}},
		"record too long":         {[]byte{22, 3, 1, 0x40, 1}, Malformed, Hello{}},
		"other record later":      {append(inRecords(standard, 100)[:105], 23, 3, 3, 0, 1, 0), Malformed, Hello{}},
		"alert":                   {[]byte{21, 3, 3, 0, 2, 1, 0}, Malformed, Hello{}},
		"version of the record":   {append([]byte{22, 9, 9}, standard[3:]...), Complete, Hello{ServerName: bucket}},
		"alert before":            {append([]byte{21, 3, 1, 0, 2, 1, 0}, standard...), Malformed, Hello{}},
		"HTTP":                    {[]byte("GET / HTTP/1.1\r\n"), NotTLS, Hello{}},
		"SSH":                     {[]byte("SSH-2.0-x\r\n"), NotTLS, Hello{}},
		"PostgreSQL":              {[]byte{0, 0, 0, 8, 4, 210, 22, 47}, NotTLS, Hello{}},
		"SSL 2":                   {[]byte{0x80, 0x2e, 1, 0, 2}, NotTLS, Hello{}},
		"ServerHello":             {[]byte{22, 3, 3, 0, 4, 2, 0, 0, 0}, Malformed, Hello{}},
		"nothing yet":             {nil, Incomplete, Hello{}},
		"one byte":                {[]byte{22}, Incomplete, Hello{}},
		"one byte of something":   {[]byte{'G'}, NotTLS, Hello{}},
	} {
		hello, state, _ := Read(c.b)
		if state != c.state || hello != c.want {
			t.Errorf("%s: %+v in state %d, want %+v in %d", name, hello, state, c.want, c.state)
		}
	}
}

// Every beginning of a ClientHello is incomplete, and reading again at what it needs, and no earlier, gets to the end.
func TestReadInParts(t *testing.T) {
	whole := helloOf(t, &tls.Config{ServerName: bucket})
	for _, size := range []int{60, 100, 1000, len(whole)} {
		b := inRecords(whole, size)
		reads, next := 0, 0
		for n := range len(b) + 1 {
			hello, state, need := Read(b[:n])
			if n == len(b) {
				if state != Complete || hello.ServerName != bucket {
					t.Fatalf("all of it in records of %d: %+v in state %d", size, hello, state)
				}
				break
			}
			if state != Incomplete || need <= n || need > len(b) {
				t.Fatalf("%d bytes of %d in records of %d: state %d, needs %d", n, len(b), size, state, need)
			}
			if n >= next {
				reads, next = reads+1, need
			}
		}
		if records := len(whole)/size + 1; reads > 3*records+1 {
			t.Errorf("%d reads of %d records", reads, records)
		}
	}
}

func TestReadAllocatesTheNameOnly(t *testing.T) {
	b := helloOf(t, &tls.Config{ServerName: bucket})
	if n := testing.AllocsPerRun(100, func() { Read(b) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// asServer gives the server name that package tls reads, and whether it reads a ClientHello at all.
func asServer(b []byte) (name string, read bool) {
	config := &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		name, read = i.ServerName, true
		return nil, io.EOF
	}}
	_ = tls.Server(&playback{Reader: bytes.NewReader(b)}, config).HandshakeContext(context.Background())
	return name, read
}

// playback is a connection on which the peer has sent all it will.
type playback struct{ *bytes.Reader }

func (*playback) Write(b []byte) (int, error)      { return len(b), nil }
func (*playback) Close() error                     { return nil }
func (*playback) LocalAddr() net.Addr              { return nil }
func (*playback) RemoteAddr() net.Addr             { return nil }
func (*playback) SetDeadline(time.Time) error      { return nil }
func (*playback) SetReadDeadline(time.Time) error  { return nil }
func (*playback) SetWriteDeadline(time.Time) error { return nil }

// FuzzRead compares with package tls: a name that a server would serve is the one read here, or the bytes are refused.
func FuzzRead(f *testing.F) {
	standard := helloOf(f, &tls.Config{ServerName: bucket})
	f.Add(standard)
	f.Add(inRecords(standard, 90))
	f.Add(helloOf(f, &tls.Config{ServerName: bucket, MaxVersion: tls.VersionTLS12}))
	f.Add(made(nameExtension("A.Example."), extension(0x2a2a, 0), extension(extensionECH, 0, 1, 2)))
	f.Add([]byte("GET / HTTP/1.1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		hello, state, need := Read(b)
		if state != Complete && hello != (Hello{}) || (state == Incomplete) != (need > len(b)) {
			t.Fatalf("%+v in state %d, needs %d of %d", hello, state, need, len(b))
		}
		for n := 0; n < len(b); n += 1 + len(b)/50 {
			if _, early, _ := Read(b[:n]); early != Incomplete && early != state {
				t.Fatalf("state %d after %d bytes, %d after %d", early, n, state, len(b))
			}
		}
		name, read := asServer(b)
		if read && state != Malformed && (state != Complete || hello.ServerName != strings.ToLower(name)) {
			t.Fatalf("%+v in state %d, but a server reads %q", hello, state, name)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	hello := helloOf(b, &tls.Config{ServerName: bucket})
	b.ReportAllocs()
	for b.Loop() {
		Read(hello)
	}
}
