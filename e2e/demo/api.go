package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"causeway/e2e/jsonapi"
)

// patience is how long a resource may take to come into force.
const patience = 20 * time.Second

// api notes the grpcurl line of each call it makes.
type api struct {
	*jsonapi.Client
	socket string
	lines  []string
}

func dialAPI(socket string) (*api, error) {
	client, err := jsonapi.DialSocket(socket)
	if err != nil {
		return nil, err
	}
	return &api{Client: client, socket: socket}, nil
}

// do calls a method such as Vpcs/CreateVpc and notes it.
func (a *api) do(ctx context.Context, method, request string) error {
	a.lines = append(a.lines, fmt.Sprintf("grpcurl -unix -plaintext -d '%s' %s causeway.v1.%s", request, a.socket, method))
	fmt.Printf("  %s %s\n", method, request)
	_, err := a.Call(ctx, method, request)
	return err
}

// await gets a resource by name until done accepts it.
func await[T proto.Message](ctx context.Context, a *api, method, name string, done func(T) bool) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return jsonapi.Await(ctx, a.Client, method, fmt.Sprintf(`{"name":%q}`, name), done)
}
