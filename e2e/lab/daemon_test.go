package lab

import (
	"fmt"
	"strings"
	"testing"
)

func TestDaemonRestarts(t *testing.T) {
	l := New(t)
	d := l.Host("gateway").Daemon(DaemonConfig{YAML: fmt.Sprintf(`data_dir: %[1]s/data
zones:
  - {region: lab, zone: lab-a}
api:
  socket: %[1]s/api.sock
wireguard:
  advertise: 127.0.0.1
`, l.Dir())})
	first := d.PID()
	if metrics, err := d.Metrics(); err != nil || !strings.Contains(metrics, "# TYPE ") {
		t.Errorf("metrics: %.80q, %v", metrics, err)
	}
	d.Kill()
	if d.Exited() == nil {
		t.Error("a killed daemon still runs")
	}
	d.Restart()
	second := d.PID()
	d.Restart()
	if third := d.PID(); first == second || second == third {
		t.Errorf("the same process after a restart: %d, %d, %d", first, second, third)
	}
}
