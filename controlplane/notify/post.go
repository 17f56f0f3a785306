package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"

	pb "causeway/proto/causeway/v1"
)

// maxHeaderBytes bounds the header of a receiver's answer; its body is not read.
const maxHeaderBytes = 16 << 10

// message is the body of a request, as docs/api.md describes it.
type message struct {
	ID              string    `json:"id"`
	Sequence        int64     `json:"sequence"`
	Type            string    `json:"type"`
	Time            time.Time `json:"time"`
	Region          string    `json:"region"`
	ServiceName     string    `json:"service_name"`
	ServiceUID      string    `json:"service_uid"`
	EndpointUID     string    `json:"endpoint_uid"`
	ConsumerAccount string    `json:"consumer_account"`
}

// types are the words of AWS's notifications:
// https://docs.aws.amazon.com/vpc/latest/privatelink/create-notification-endpoint-service.html
var types = map[pb.Notification_Event]string{
	pb.Notification_CONNECT: "Connect",
	pb.Notification_ACCEPT:  "Accept",
	pb.Notification_REJECT:  "Reject",
	pb.Notification_DELETE:  "Delete",
}

// newClient makes a client that connects where the guard allows, at the resolved address, follows no
// redirect and knows no proxy.
func newClient(guard *Guard, resolver *net.Resolver) *http.Client {
	dialer := &net.Dialer{
		Resolver: resolver,
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrRefused, err)
			}
			return guard.Check(to.Addr())
		},
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaderBytes,
			MaxIdleConns:           100,
			IdleConnTimeout:        30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Sign gives the signature of a body that is sent at a time, in seconds since 1970.
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// post sends an event. Only an answer of 2xx is none of an error.
func (d *Deliverer) post(ctx context.Context, to, secret string, event *pb.NotificationEvent, sequence int64) error {
	body, err := json.Marshal(message{
		ID: event.GetId(), Sequence: sequence, Type: types[event.GetType()], Time: event.GetTime().AsTime(),
		Region: event.GetRegion(), ServiceName: event.GetServiceName(), ServiceUID: event.GetServiceUid(),
		EndpointUID: event.GetEndpointUid(), ConsumerAccount: event.GetConsumerAccount(),
	})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return bare(err)
	}
	timestamp := strconv.FormatInt(d.cfg.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Causeway")
	req.Header.Set("Causeway-Event-Id", event.GetId())
	req.Header.Set("Causeway-Timestamp", timestamp)
	req.Header.Set("Causeway-Signature", Sign(secret, timestamp, body))
	resp, err := d.client.Do(req)
	if err != nil {
		return bare(err)
	}
	_ = resp.Body.Close() // unread: it is the receiver's, of any length
	if resp.StatusCode/100 != 2 {
		return statusError(resp.StatusCode)
	}
	return nil
}

// bare takes the URL out of an error of package http: its path and query may hold what is secret.
func bare(err error) error {
	if with, ok := errors.AsType[*url.Error](err); ok {
		return with.Err
	}
	return err
}
