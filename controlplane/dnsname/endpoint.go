package dnsname

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// DefaultSuffix ends the names of endpoints where the configuration says nothing else. It lies below the top-level
// domain that ICANN has reserved for private use.
const DefaultSuffix = "causeway.internal"

// Endpoint is what the names of an endpoint are made of.
type Endpoint struct {
	// UID of the endpoint: vpce- and 17 hexadecimal digits.
	UID string
	// ServiceName and ServiceUID are those of its service, Region the service's region.
	ServiceName, ServiceUID, Region string
	// Suffix is the installation's.
	Suffix string
}

// Regional gives the name of the endpoint as a whole, in AWS's form:
//
//	vpce-099deb00b40f00e22-lj2wisx3.monitoring.us-east-2.vpce.amazonaws.com
//
// See https://docs.aws.amazon.com/vpc/latest/privatelink/privatelink-access-aws-services.html#interface-endpoint-dns-hostnames
func (e Endpoint) Regional() string { return e.name(e.label()) }

// Zonal gives the name of the endpoint in a zone. It is no valid name where the zone's is too long for a label.
func (e Endpoint) Zonal(zone string) string { return e.name(e.label() + "-" + zone) }

func (e Endpoint) name(label string) string {
	return label + "." + e.service() + "." + e.Region + ".vpce." + e.Suffix
}

// label gives the first label of the Regional name: the uid and eight characters that follow from it.
func (e Endpoint) label() string {
	sum := sha256.Sum256([]byte(e.UID))
	return e.UID + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5]))
}

// service gives the label of the service: its uid, or the last label of a name that the operator has chosen.
func (e Endpoint) service() string {
	if strings.HasSuffix(e.ServiceName, "."+e.ServiceUID) {
		return e.ServiceUID
	}
	return e.ServiceName[strings.LastIndexByte(e.ServiceName, '.')+1:]
}
