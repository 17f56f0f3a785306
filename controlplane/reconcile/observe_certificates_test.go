package reconcile

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "causeway/proto/causeway/v1"
)

func TestValidityOfCertificates(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	until := from.Add(90 * 24 * time.Hour)
	m := &pb.Certificate{NotBeforeTime: timestamppb.New(from), NotAfterTime: timestamppb.New(until)}
	for _, tt := range []struct {
		name string
		now  time.Time
		want string
	}{
		{"before", from.Add(-time.Second), "not valid before"},
		{"long valid", from, ""},
		{"near its end", until.Add(-expiryNotice + time.Second), "expires at"},
		{"expired", until.Add(time.Second), "expired at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Reconciler{cfg: Config{Now: func() time.Time { return tt.now }}}
			if got := r.validity(m); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("says %q, want %q", got, tt.want)
			}
		})
	}
}
