package bind

import "golang.org/x/sys/unix"

// socketBuffer is what conn.StdNetBind asks for: at 10 Gbit/s it holds some 5 ms.
const socketBuffer = 7 << 20

// setBuffers enlarges the socket's buffers as far as the process may: beyond the limits of net.core.{r,w}mem_max with
// CAP_NET_ADMIN, else up to them. What cannot be had costs speed, not function.
func setBuffers(fd int) {
	for _, opt := range [2][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt[0], socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt[1], socketBuffer)
		}
	}
}

// enableOffload asks for UDP segmentation on sending (Linux 4.18) and coalescing on receiving. The latter counts only if
// it can be read back, which Linux 5.12 brought; before that it was unreliable (wireguard-go c92064f).
func enableOffload(fd int) (send, receive offload) {
	_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	send = err == nil
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	on, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO)
	return send, err == nil && on == 1
}
