package reconcile

import (
	"fmt"
	"strconv"
	"strings"
)

// GatewayName is the resource name of the only gateway.
const GatewayName = "gateways/local"

// portClaimPrefix begins the keys of the UDP ports that the gateway has given out.
const portClaimPrefix = "local/"

func portClaimKey(port uint16) string { return portClaimPrefix + strconv.Itoa(int(port)) }

func parsePortClaim(key string) (uint16, bool) {
	port, err := strconv.ParseUint(strings.TrimPrefix(key, portClaimPrefix), 10, 16)
	return uint16(port), err == nil && port != 0
}

// PortRange is a range of UDP ports, both ends included.
type PortRange struct{ First, Last uint16 }

// slot is the place of a tunnel endpoint: a VPC may have two in a zone, so that the two tunnels of a
// VPN connection end on different ones where there is one zone only.
type slot struct {
	vpc, zone string
	index     int
}

// name is the name the tunnel endpoint is stored under.
func (s slot) name() string {
	return fmt.Sprintf("%s/tunnelEndpoints/%s-%d", s.vpc, s.zone, s.index)
}

// lowestFree gives the first port of the range that is not taken.
func (r PortRange) lowestFree(taken map[uint16]bool) (uint16, bool) {
	for port := int(r.First); port <= int(r.Last); port++ {
		if port != 0 && !taken[uint16(port)] {
			return uint16(port), true
		}
	}
	return 0, false
}
