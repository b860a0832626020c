package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sync/errgroup"

	"hushgate/internal/config"
)

// ShowOptions are the options of `hushgate lab`.
type ShowOptions struct {
	Binary string        // the hushgate that runs as the gateway
	Delay  time.Duration // inspect-delay
	Shell  bool          // keep the lab at the end, with a shell on the client
	Out    io.Writer
}

// show is one demonstration.
type show struct {
	ShowOptions
	lab  *Lab
	gw   *Gateway
	mtas [2]*MTA
	vip  string

	mu   sync.Mutex
	rows []row
}

type row struct {
	act, expected, seen string
	ok                  bool
}

// ErrNotAsExpected reports that a scene did not end as it should.
var ErrNotAsExpected = errors.New("not everything happened as it should")

// plan is the lab as a picture.
const plan = `
   client              gateway (hushgate)               servers
   198.18.0.11-19      198.18.0.1:25     10.0.0.1      smtp1 10.0.0.11:25
   bots, patient  ---- outside            inside ----- smtp2 10.0.0.12:25
                       silent for %v, then the server's own banner
`

// Show builds a lab, plays the acts and prints what happened, as it happens and as a table.
func Show(ctx context.Context, o ShowOptions) (err error) {
	s := &show{ShowOptions: o, vip: net.JoinHostPort(VIP4, "25")}
	if s.lab, err = New(ctx, Options{}); err != nil {
		return fmt.Errorf("build the lab: %w", err)
	}
	defer func() { err = errors.Join(err, s.lab.Close()) }()
	s.printf(text.Colors{}, plan, o.Delay)
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.play(ctx); err != nil {
		return err
	}
	s.table()
	if s.Shell {
		s.shell(ctx)
	}
	if err := s.gw.Stop(); err != nil {
		return err
	}
	for _, r := range s.rows {
		if !r.ok {
			return ErrNotAsExpected
		}
	}
	return nil
}

// Reference is the reference configuration with another delay.
func Reference(delay time.Duration) []byte {
	return []byte(strings.Replace(string(config.Reference), "inspect-delay 30s",
		fmt.Sprintf("inspect-delay %dms", delay.Milliseconds()), 1))
}

func (s *show) start(ctx context.Context) (err error) {
	for i, a := range [2]string{Server4a, Server4b} {
		if s.mtas[i], err = NewMTA(s.lab.Servers[i], net.JoinHostPort(a, "25"), nil); err != nil {
			return err
		}
	}
	ready, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	s.gw, err = s.lab.StartGateway(ready, s.Binary, Reference(s.Delay), func(line string) {
		s.printf(text.Colors{text.Faint}, "    | %s\n", line)
	})
	return err
}

func (s *show) printf(c text.Colors, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	if len(c) > 0 {
		line = c.Sprint(strings.TrimSuffix(line, "\n")) + "\n"
	}
	_, _ = io.WriteString(s.Out, line)
}

// done notes how an act ended.
func (s *show) done(act, expected, seen string, ok bool) {
	colour, mark := text.Colors{text.FgGreen}, "ok  "
	if !ok {
		colour, mark = text.Colors{text.FgRed, text.Bold}, "FAIL"
	}
	s.printf(colour, "%s %s: %s\n", mark, act, seen)
	s.mu.Lock()
	s.rows = append(s.rows, row{act, expected, seen, ok})
	s.mu.Unlock()
}

// play plays the acts; those that only wait, together.
func (s *show) play(ctx context.Context) error {
	s.printf(text.Colors{text.Bold}, "\nTwo bots, a client that hangs up, two patient clients\n")
	var group errgroup.Group
	late := min(time.Second, s.Delay/3).Round(time.Millisecond)
	group.Go(func() error { return s.bot(ctx, "a bot that sends EHLO at once", 1, 0) })
	group.Go(func() error { return s.bot(ctx, fmt.Sprintf("a bot that talks after %v", late), 2, late) })
	group.Go(func() error { return s.hangUp(ctx, late) })
	group.Go(func() error { return s.patient(ctx) })
	if err := group.Wait(); err != nil {
		return err
	}
	s.printf(text.Colors{text.Bold}, "\nsmtp1 dies\n")
	return s.dies(ctx)
}

func (s *show) bot(ctx context.Context, act string, client int, wait time.Duration) error {
	seen, err := s.lab.Bot(ctx, ClientAddr4(client), s.vip, wait, "EHLO bot.example.net\r\n", s.Delay+2*time.Second)
	if err != nil {
		return err
	}
	var conns, octets int64
	for _, m := range s.mtas {
		c, o := m.Connections(ClientAddr4(client))
		conns, octets = conns+c, octets+o
	}
	s.done(act, "RST, nothing at the servers",
		fmt.Sprintf("%s after %v, %d bytes of text; the servers saw %d connections, %d bytes", seen.End,
			(seen.After-wait).Round(100*time.Microsecond), len(seen.Text), conns, octets),
		seen.End == EndReset && seen.Text == "" && conns == 0 && octets == 0)
	return nil
}

func (s *show) hangUp(ctx context.Context, after time.Duration) error {
	if err := s.lab.HangUp(ctx, ClientAddr4(3), s.vip, after, false); err != nil {
		return err
	}
	line, err := s.waitLine(ctx, ClientAddr4(3)+":", " CR ")
	c0, _ := s.mtas[0].Connections(ClientAddr4(3))
	c1, _ := s.mtas[1].Connections(ClientAddr4(3))
	s.done(fmt.Sprintf("a client that hangs up after %v", after), "logged CR, no server troubled",
		fmt.Sprintf("logged %t, the servers saw %d connections", line != "", c0+c1), err == nil && c0+c1 == 0)
	return nil
}

// waitLine waits for a line of the gateway for as long as anything here may take.
func (s *show) waitLine(ctx context.Context, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return s.gw.WaitLine(ctx, words...)
}

// patient delivers two mails at once: they alternate over the servers.
func (s *show) patient(ctx context.Context) error {
	var group errgroup.Group
	var banners [2]time.Duration
	for i := range 2 {
		group.Go(func() error {
			seen, err := s.lab.Deliver(ctx, ClientAddr4(4+i), s.vip, strings.NewReader("Subject: hello\r\n\r\nfrom a patient client\r\n"))
			banners[i] = seen.After
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.done("two patient clients", "mail delivered", err.Error(), false)
		return nil
	}
	for i := range 2 {
		from := ClientAddr4(4 + i)
		var at []string
		for _, m := range s.mtas {
			for _, mail := range m.Mails() {
				if mail.Client == from {
					at = append(at, m.Name)
				}
			}
		}
		s.done(fmt.Sprintf("a patient client at %s", from), "mail delivered after the delay, from its own address",
			fmt.Sprintf("banner after %v, delivered to %s, which saw %s", banners[i].Round(time.Millisecond), strings.Join(at, ", "), from),
			len(at) == 1 && banners[i] >= s.Delay)
	}
	a, b := len(s.mtas[0].Mails()), len(s.mtas[1].Mails())
	s.done("alternation", "one mail at each server", fmt.Sprintf("%d at smtp1, %d at smtp2", a, b), a == 1 && b == 1)
	return nil
}

// dies stops a server and delivers two mails before any check has noticed.
func (s *show) dies(ctx context.Context) error {
	if err := s.mtas[0].Stop(); err != nil {
		return err
	}
	var group errgroup.Group
	for i := range 2 {
		group.Go(func() error {
			_, err := s.lab.Deliver(ctx, ClientAddr4(6+i), s.vip, strings.NewReader("Subject: again\r\n\r\nstill there?\r\n"))
			return err
		})
	}
	err := group.Wait()
	got := len(s.mtas[1].Mails()) - 1
	refused := s.gw.Count("server did not take a connection", "bk_smtp/smtp1")
	down := s.gw.Count("Server bk_smtp/smtp1 is DOWN")
	s.done("a server that dies is skipped", "both mails at the other server",
		fmt.Sprintf("%d mails at smtp2, %d refusals by smtp1 unnoticed by clients (err %v)", got, refused, err),
		err == nil && got == 2 && refused+down > 0)
	line, err := s.waitLine(ctx, "Server bk_smtp/smtp1 is DOWN")
	_, reason, _ := strings.Cut(line, "reason: ")
	reason = strings.ReplaceAll(reason, `\"`, `"`)
	s.done("its health check notices", "marked DOWN", "reason: "+reason, err == nil)
	return nil
}

func (s *show) table() {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"act", "expected", "seen", ""})
	for _, r := range s.rows {
		mark := text.FgGreen.Sprint("ok")
		if !r.ok {
			mark = text.FgRed.Sprint("FAIL")
		}
		t.AppendRow(table.Row{r.act, r.expected, r.seen, mark})
	}
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 1, WidthMax: 34, WidthMaxEnforcer: text.WrapSoft},
		{Number: 2, WidthMax: 30, WidthMaxEnforcer: text.WrapSoft},
		{Number: 3, WidthMax: 56, WidthMaxEnforcer: text.WrapSoft},
	})
	t.SetStyle(table.StyleLight)
	s.printf(text.Colors{}, "\n%s\n", t.Render())
}

// shell gives the user the client's place.
func (s *show) shell(ctx context.Context) {
	sh := os.Getenv("SHELL")
	if sh == "" {
		sh = "/bin/sh"
	}
	if err := s.mtas[0].Start(); err != nil {
		s.printf(text.Colors{text.FgRed}, "smtp1 does not start again: %v\n", err)
	}
	s.printf(text.Colors{text.Bold}, "\nA shell on the client. $VIP is the gateway's service address: try `nc $VIP 25`. Leave it to end the lab.\n")
	cmd := exec.CommandContext(ctx, sh)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "VIP="+VIP4, "VIP6="+VIP6, "PS1=client$ ")
	if err := s.lab.Client.Start(cmd); err != nil {
		s.printf(text.Colors{text.FgRed}, "%v\n", err)
		return
	}
	_ = cmd.Wait() // the shell's exit status does not matter
}
