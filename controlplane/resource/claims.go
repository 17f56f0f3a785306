package resource

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"causeway/controlplane/store"
)

// Claim kinds.
const (
	// ClaimUID is of uids: "vpc-0123456789abcdef0".
	ClaimUID = "uid"
	// ClaimToken is of hashes of bearer tokens, in hexadecimal digits.
	ClaimToken = "token"
	// ClaimKey is of WireGuard public keys in canonical base64. A peer of any kind holds one.
	ClaimKey = "key"
	// ClaimAddress is of the addresses of a VPC: "<VPC's name>/<address>".
	ClaimAddress = "address"
	// ClaimInside is of the inside prefixes of a VPC's VPN tunnels: "<VPC's name>/<address>".
	ClaimInside = "inside"
	// ClaimPair is of peered pairs of VPCs: both names, the lesser first, joined by a space.
	ClaimPair = "pair"
	// ClaimPeering makes the peerings of an account found from either side:
	// "<account>/<peering's name>".
	ClaimPeering = "peering"
	// ClaimSite is of a customer gateway's connection to a VPC: both names, joined by a space.
	ClaimSite = "site"
	// ClaimPort is of the ports of a load balancer: "<load balancer's name>/<protocol>/<port>".
	ClaimPort = "port"
	// ClaimService is of load balancers by the endpoint service that offers them: their name.
	ClaimService = "service"
	// ClaimServiceName is of the public names of endpoint services.
	ClaimServiceName = "service-name"
	// ClaimConnection makes the endpoints of a service found, whatever account they are of and state
	// they are in: "<service's uid>/<endpoint's uid>".
	ClaimConnection = "connection"
	// ClaimUse is of the endpoints that a service may not leave: those that wait for acceptance or
	// have it, with the zones that the service must keep for them, see [UseClaim].
	ClaimUse = "use"
	// ClaimListing makes the services of the marketplace found: their public name.
	ClaimListing = "listing"
	// ClaimPrivateName is of the private DNS names that endpoints of a VPC hold: "<VPC's name>/<DNS name>".
	ClaimPrivateName = "private-name"
	// ClaimForward is of the domains that resolver rules of a VPC are for: "<VPC's name>/<domain>".
	ClaimForward = "forward"
	// ClaimSubscription is of the one subscription that an account may have to a service:
	// "<service's uid>/<account>".
	ClaimSubscription = "subscription"
	// ClaimSource is of the security groups that rules of others admit: "<source group's uid>/<group's
	// uid>".
	ClaimSource = "source"
)

// Claim is something that one resource holds and no other may.
type Claim struct{ Kind, Key string }

// AddressClaim gives the claim of an address in a VPC.
func AddressClaim(vpc, address string) Claim { return Claim{ClaimAddress, vpc + "/" + address} }

// InsideClaim gives the claim of the inside prefix of a tunnel into a VPC, by the site's address.
func InsideClaim(vpc, address string) Claim { return Claim{ClaimInside, vpc + "/" + address} }

// KeyClaim gives the claim of a peer's public key.
func KeyClaim(key string) Claim { return Claim{ClaimKey, key} }

// PairClaim gives the claim of the one peering that two VPCs may have.
func PairClaim(a, b string) Claim {
	if cmp.Less(b, a) {
		a, b = b, a
	}
	return Claim{ClaimPair, a + " " + b}
}

// SiteClaim gives the claim of the one connection that a customer gateway may have to a VPC.
func SiteClaim(customerGateway, vpc string) Claim {
	return Claim{ClaimSite, customerGateway + " " + vpc}
}

// PeeringClaim gives the claim by which an account's peerings are found.
func PeeringClaim(account, peering string) Claim {
	return Claim{ClaimPeering, account + "/" + peering}
}

// ConnectionClaim gives the claim by which a service's endpoints are found.
func ConnectionClaim(service, endpoint string) Claim {
	return Claim{ClaimConnection, service + "/" + endpoint}
}

// UseClaim gives the claim of a use of a service. Service and endpoint are
// uids. Whatever
// makes an endpoint need more of its service makes a new claim, which is how writers of the service
// notice it: [store.Txn.RequireClaims].
func UseClaim(service, endpoint string, zones []string) Claim {
	zones = slices.Compact(slices.Sorted(slices.Values(zones)))
	return Claim{ClaimUse, service + "/" + endpoint + "/" + strings.Join(zones, ",")}
}

// PrivateNameClaim gives the claim of a private DNS name in a VPC.
func PrivateNameClaim(vpc, name string) Claim { return Claim{ClaimPrivateName, vpc + "/" + name} }

// ForwardClaim gives the claim of the domain of a resolver rule in a VPC.
func ForwardClaim(vpc, domain string) Claim { return Claim{ClaimForward, vpc + "/" + domain} }

// SubscriptionClaim gives the claim of an account's subscription to a service, given by its uid.
func SubscriptionClaim(service, account string) Claim {
	return Claim{ClaimSubscription, service + "/" + account}
}

// SourceClaim gives the claim of a security group that rules of another one admit, both given by uid.
func SourceClaim(source, group string) Claim { return Claim{ClaimSource, source + "/" + group} }

// Use takes the key of a use apart: the endpoint's uid and the zones it needs.
func Use(key string) (endpoint string, zones []string) {
	_, rest, _ := strings.Cut(key, "/")
	endpoint, joined, _ := strings.Cut(rest, "/")
	if joined == "" {
		return endpoint, nil
	}
	return endpoint, strings.Split(joined, ",")
}

// Move adds to a transaction that owner's claims, which were before, are now after.
func Move(tx *store.Txn, owner string, before, after []Claim) {
	held := make(map[Claim]bool, len(before))
	for _, c := range before {
		held[c] = true
	}
	for _, c := range after {
		if !held[c] {
			tx.Claim(c.Kind, c.Key, owner)
		}
		delete(held, c)
	}
	for c := range held {
		tx.Release(c.Kind, c.Key, owner)
	}
}

func isAbsent(err error) bool { return errors.Is(err, store.ErrNotFound) }
