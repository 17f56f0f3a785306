package resource

import "strconv"

// Numbers of IP protocols that rules treat apart:
// https://www.iana.org/assignments/protocol-numbers/
const (
	// ProtocolAll stands for every protocol.
	ProtocolAll  = -1
	ProtocolICMP = 1
	ProtocolTCP  = 6
	ProtocolUDP  = 17
)

// DefaultNetworkACL is the id of the network ACL that the subnets of a VPC have which name none.
const DefaultNetworkACL = "default"

var protocolWords = map[int]string{ProtocolAll: "all", ProtocolICMP: "icmp", ProtocolTCP: "tcp", ProtocolUDP: "udp"}

// ParseProtocol reads the protocol of a rule: a word, or the number of an IP protocol, -1 to 255. It
// says whether it is one.
func ParseProtocol(text string) (number int, ok bool) {
	for n, word := range protocolWords {
		if text == word {
			return n, true
		}
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= ProtocolAll && n <= 255 && strconv.Itoa(n) == text
}

// FormatProtocol spells the protocol of a rule as it is stored: as a word where there is one.
func FormatProtocol(number int) string {
	if word, ok := protocolWords[number]; ok {
		return word
	}
	return strconv.Itoa(number)
}

// HasPorts says whether the rules of a protocol have a range of ports.
func HasPorts(protocol int) bool { return protocol == ProtocolTCP || protocol == ProtocolUDP }
