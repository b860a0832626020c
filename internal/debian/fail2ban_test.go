package debian

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/internal/needroot"
)

// TestFail2ban: a running fail2ban with the package's jail, filter and action bans who talks early twice, by IPv4 and IPv6: the list
// has the addresses, and hushgate is told. (What the filter finds in each format is in internal/lab.)
func TestFail2ban(t *testing.T) {
	needroot.Skip(t, "a running fail2ban")
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	write := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString(text)
			_ = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{"/etc/fail2ban", "../../contrib/fail2ban"} {
		if err := exec.Command("cp", "-rT", from, conf).Run(); err != nil {
			t.Fatalf("copy %s: %v", from, err)
		}
	}
	others, _ := filepath.Glob(conf + "/jail.d/*")
	for _, file := range others {
		if filepath.Base(file) != "hushgate.conf" {
			_ = os.Remove(file)
		}
	}
	log, list, told := filepath.Join(dir, "mail.log"), filepath.Join(dir, "list"), filepath.Join(dir, "told")
	write(log, "")
	write(conf+"/fail2ban.local", "[DEFAULT]\ndbfile = None\nallowipv6 = yes\n")
	write(conf+"/jail.d/local.conf", fmt.Sprintf("[hushgate]\nenabled = true\nlogpath = %s\nbackend = polling\nmaxretry = 2\n"+
		"action = hushgate[banlist=%s, tell=\"echo told >> %s\"]\n", log, list, told))
	server := exec.Command("fail2ban-server", "-c", conf, "-s", dir+"/socket", "-p", dir+"/pid", "-x", "-f", "--logtarget", dir+"/out", "start")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = server.Process.Kill(), server.Wait() })
	banned := func(want ...string) {
		t.Helper()
		var got []string
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			text, err := os.ReadFile(list)
			if got = strings.Fields(string(text)); err == nil && slices.Equal(got, want) {
				return
			}
		}
		out, _ := os.ReadFile(dir + "/out")
		t.Fatalf("banned: %v, want %v\n%s", got, want, out)
	}
	banned()
	for _, client := range []string{"198.18.0.7", "2001:db8::7"} {
		for range 2 {
			now := time.Now()
			write(log, fmt.Sprintf("%s gate hushgate[1]: %s:4000 [%s] ft ft/<NOSRV> -1/-1/0 0 PR 1/1/0/0/0 0/0\n",
				now.Format(time.Stamp), client, now.Format("02/Jan/2006:15:04:05.000")))
		}
		banned([]string{"198.18.0.7", "2001:db8::7"}[:1+strings.Count(client, "::")]...)
	}
	if out, err := exec.Command("fail2ban-client", "-s", dir+"/socket", "set", "hushgate", "unbanip", "198.18.0.7").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	banned("2001:db8::7")
	if text, err := os.ReadFile(told); err != nil || strings.Count(string(text), "told") < 4 {
		t.Errorf("hushgate was told %d times, %v", strings.Count(string(text), "told"), err)
	}
}
