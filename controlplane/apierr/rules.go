package apierr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// maxValueText is how many bytes of a refused value a text repeats.
const maxValueText = 48

// idPattern is the rule of the schema for ids that users choose.
const idPattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"

// AddRules notes what the rules in the schema find: err is what a protovalidate.Validator gave for
// the message that the request calls field, "" for the request itself. nil is no violation. Any
// other error, such as a rule that does not compile, is returned. Texts name the refused value
// unless the schema marks its field with debug_redact.
func (v *Violations) AddRules(field string, err error) error {
	if err == nil {
		return nil
	}
	found, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return fmt.Errorf("check rules of %q: %w", field, err)
	}
	for _, violation := range found.Violations {
		path := protovalidate.FieldPathString(violation.Proto.GetField())
		v.Add(join(field, path), "%s", ruleText(violation))
	}
	return nil
}

// ruleText reads well after the field's name: "is required", "must be 60s to 6000s, is 59s".
func ruleText(violation *protovalidate.Violation) string {
	text := ruleWords(violation)
	if value := refusedValue(violation); value != "" {
		return text + ", is " + value
	}
	return text
}

// ruleWords says what the rule demands, shorter than protovalidate does.
func ruleWords(violation *protovalidate.Violation) string {
	text := violation.Proto.GetMessage()
	switch rule := violation.Proto.GetRuleId(); {
	case text == "":
		return "violates rule " + rule
	case rule == "string.pattern" && violation.RuleValue.IsValid() && violation.RuleValue.String() == idPattern:
		return "must be a lower-case letter, then lower-case letters, digits and hyphens, at most 63 and no hyphen last"
	case unspecified(violation):
		return "is required"
	}
	text = strings.TrimPrefix(text, "value ")
	if least, ok := strings.CutPrefix(text, "must be greater than or equal to "); ok {
		if least, most, both := strings.Cut(least, " and less than or equal to "); both {
			return "must be " + least + " to " + most
		}
		return "must be at least " + least
	}
	if most, ok := strings.CutPrefix(text, "must be less than or equal to "); ok {
		return "must be at most " + most
	}
	return text
}

// unspecified says whether an enum has its zero value where the schema wants another.
func unspecified(violation *protovalidate.Violation) bool {
	if violation.Proto.GetRuleId() != "enum.not_in" || !violation.FieldValue.IsValid() {
		return false
	}
	number, ok := violation.FieldValue.Interface().(protoreflect.EnumNumber)
	return ok && number == 0
}

// refusedValue gives a scalar or a duration as a person would write it, a string's length where that
// is what is wrong, and "" for everything else and for what must not be shown.
func refusedValue(violation *protovalidate.Violation) string {
	field := violation.FieldDescriptor
	if field == nil || !violation.FieldValue.IsValid() || unspecified(violation) {
		return ""
	}
	if options, ok := field.Options().(*descriptorpb.FieldOptions); !ok || options.GetDebugRedact() {
		return ""
	}
	switch value := violation.FieldValue.Interface().(type) {
	case bool, int32, int64, uint32, uint64, float32, float64:
		return fmt.Sprint(value)
	case protoreflect.EnumNumber:
		if enum := field.Enum(); enum != nil && enum.Values().ByNumber(value) != nil {
			return string(enum.Values().ByNumber(value).Name())
		}
		return strconv.Itoa(int(value))
	case string:
		if strings.HasSuffix(violation.Proto.GetRuleId(), "_len") {
			return fmt.Sprintf("%d characters long", utf8.RuneCountInString(value))
		}
		return strconv.Quote(clean(value, maxValueText))
	case protoreflect.Message:
		if duration, ok := value.Interface().(*durationpb.Duration); ok && duration.CheckValid() == nil {
			return strconv.FormatFloat(duration.AsDuration().Seconds(), 'f', -1, 64) + "s"
		}
	}
	return ""
}

func join(field, path string) string {
	if field == "" || path == "" {
		return field + path
	}
	return field + "." + path
}
