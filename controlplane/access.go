package controlplane

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	causewayv1 "causeway/proto/causeway/v1"
)

// anonymous is the access of the only service that anybody may call.
const anonymous causewayv1.Access = -1

// standardServices are those whose methods cannot carry the option (causeway.v1.access).
// Reflection tells what is in the public proto files, to those who may call something.
var standardServices = map[string]causewayv1.Access{
	grpc_health_v1.Health_ServiceDesc.ServiceName: anonymous,
	"grpc.reflection.v1.ServerReflection":         causewayv1.Access_VIEW,
	"grpc.reflection.v1alpha.ServerReflection":    causewayv1.Access_VIEW,
}

// accessMap gives the access that each method needs, by its full name: /package.Service/Method.
type accessMap map[string]causewayv1.Access

// newAccessMap reads the access of every registered method from its descriptor. A method without
// one is an error of the program, and nothing is served.
func newAccessMap(services map[string]grpc.ServiceInfo) (accessMap, error) {
	access := accessMap{}
	for service, info := range services {
		for _, method := range info.Methods {
			need, err := methodAccess(service, method.Name)
			if err != nil {
				return nil, err
			}
			access["/"+service+"/"+method.Name] = need
		}
	}
	return access, nil
}

func methodAccess(service, method string) (causewayv1.Access, error) {
	if need, ok := standardServices[service]; ok {
		return need, nil
	}
	full := protoreflect.FullName(service + "." + method)
	desc, err := protoregistry.GlobalFiles.FindDescriptorByName(full)
	if err != nil {
		return 0, fmt.Errorf("read access of method %s: %w", full, err)
	}
	need, _ := proto.GetExtension(desc.Options(), causewayv1.E_Access).(causewayv1.Access)
	switch need {
	case causewayv1.Access_VIEW, causewayv1.Access_CONNECT, causewayv1.Access_MANAGE, causewayv1.Access_OPERATE:
		return need, nil
	}
	return 0, fmt.Errorf("read access of method %s: the option (causeway.v1.access) says %v", full, need)
}
