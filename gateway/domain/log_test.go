package domain

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	gvisorlog "gvisor.dev/gvisor/pkg/log"
)

func TestLogTo(t *testing.T) {
	before := gvisorlog.Log().Emitter
	t.Cleanup(func() { gvisorlog.SetTarget(before) })
	for _, tt := range []struct {
		name  string
		level slog.Level
		want  string
	}{
		{"OK: shown at debug level", slog.LevelDebug, "port 7 is in use"},
		{"OK: hidden at info level", slog.LevelInfo, ""},
	} {
		var out bytes.Buffer
		LogTo(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: tt.level})))
		gvisorlog.Warningf("port %d is in use", 7)
		if got := out.String(); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: logged %q, want %q", tt.name, got, tt.want)
		}
	}
}
