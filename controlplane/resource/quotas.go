package resource

import (
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// Quotas holds the quotas that the operator has set for accounts, under their names. Of those that are
// not set, which have their defaults, there is nothing. An entry has the value and when it was set.
var Quotas = store.NewCollection[*pb.Quota]("quotas")
