package debian

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hushgate/internal/needroot"
)

// TestLogrotate: logrotate accepts the package's file, keeps the old lines, and asks hushgate to open the new file.
func TestLogrotate(t *testing.T) {
	needroot.Skip(t, "logrotate changes owners")
	text, err := os.ReadFile("hushgate.logrotate")
	if err != nil {
		t.Fatal(err)
	}
	dir, state := t.TempDir(), t.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	asked := filepath.Join(state, "asked")
	cfg := strings.NewReplacer("/var/log/hushgate", dir, "hushgate hushgate", "root root",
		"systemctl kill --kill-whom=main -s SIGUSR2 hushgate.service", "touch "+asked).Replace(string(text))
	file := filepath.Join(state, "logrotate")
	for name, what := range map[string]string{file: cfg, filepath.Join(dir, "mail.log"): "a line\n"} {
		if err := os.WriteFile(name, []byte(what), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("logrotate", "--force", "--state", filepath.Join(state, "state"), file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	if old, err := os.ReadFile(filepath.Join(dir, "mail.log.1")); err != nil || string(old) != "a line\n" {
		t.Errorf("%q, %v", old, err)
	}
	if st, err := os.Stat(filepath.Join(dir, "mail.log")); err != nil || st.Mode() != 0o640 || st.Size() != 0 {
		t.Errorf("the new file: %v, %v", st, err)
	}
	if _, err := os.Stat(asked); err != nil {
		t.Error(err)
	}
}
