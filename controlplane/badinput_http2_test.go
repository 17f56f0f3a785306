package controlplane_test

import (
	"bytes"
	"net"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// header is a header field as it is sent.
type header struct{ name, value string }

// grpcHeaders are those of a good call of a method.
func grpcHeaders(path string) []header {
	return []header{
		{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "localhost"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	}
}

// with replaces a header, or adds it.
func with(headers []header, name, value string) []header {
	for n := range headers {
		if headers[n].name == name {
			headers[n].value = value
			return headers
		}
	}
	return append(headers, header{name, value})
}

// framed puts the prefix of a gRPC message before it.
func framed(message []byte, compressed byte) []byte {
	n := len(message)
	return append([]byte{compressed, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, message...)
}

// rawCall makes one HTTP/2 request over the unix socket, as operator, without any library's help to
// make it a good one. It gives the answer's headers and trailers: none if the server ends the stream
// or the connection instead.
func (w *world) rawCall(headers []header, body []byte) map[string]string {
	w.t.Helper()
	conn, err := net.DialTimeout("unix", w.path("api.sock"), callTimeout)
	must(w.t, err)
	defer conn.Close()
	deadline, _ := w.t.Deadline()
	must(w.t, conn.SetDeadline(deadline))
	_, err = conn.Write([]byte(http2.ClientPreface))
	must(w.t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	must(w.t, framer.WriteSettings())
	must(w.t, framer.WriteSettingsAck())
	w.writeRequest(framer, headers, body)
	return w.readAnswer(framer)
}

// maxFrame is the largest frame that every peer takes.
const maxFrame = 16 << 10

func (w *world) writeRequest(framer *http2.Framer, headers []header, body []byte) {
	w.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, h := range headers {
		must(w.t, encoder.WriteField(hpack.HeaderField{Name: h.name, Value: h.value}))
	}
	first := block.Next(maxFrame)
	must(w.t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndHeaders: block.Len() == 0}))
	for block.Len() > 0 {
		part := block.Next(maxFrame)
		must(w.t, framer.WriteContinuation(1, block.Len() == 0, part))
	}
	for {
		part := body[:min(len(body), maxFrame)]
		body = body[len(part):]
		// The server may have answered and closed the stream already.
		if err := framer.WriteData(1, len(body) == 0, part); err != nil || len(body) == 0 {
			return
		}
	}
}

func (w *world) readAnswer(framer *http2.Framer) map[string]string {
	w.t.Helper()
	answer := map[string]string{}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return answer
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				answer[field.Name] = field.Value
			}
			if f.StreamEnded() {
				return answer
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return answer
		}
	}
}
