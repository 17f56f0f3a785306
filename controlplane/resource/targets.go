package resource

import (
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// Targets holds the targets of each target group under the group's name: a list may be longer than a
// transaction has writes. Whoever writes it writes the group in the same transaction, at the revision
// it was read, so that the list and the group's target_count agree. A group without targets may have
// no entry, and one that is being deleted has none. Addresses are canonical, ports filled in, and the
// list is in the order of both.
var Targets = store.NewCollection[*pb.RegisterTargetsRequest]("targets")
