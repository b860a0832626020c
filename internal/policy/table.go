package policy

import (
	"errors"
	"fmt"
	"time"
)

// Config is all that a Table is made of.
type Config struct {
	Frontends []Frontend // by the number that a Client names
	Lists     []NamedList

	Prefixes Prefixes      // how much of an address is a client; the zero value means IPv4 /32, IPv6 /64
	PassTTL  time.Duration // how long a pass is good; 0 means that there are none
	Window   time.Duration // over which new connections are counted; 0 means a minute
	Offences Offences
	DNS      DNS // looked at if a frontend has DNS
}

// Frontend is how the clients of a frontend are treated.
type Frontend struct {
	Name  string
	Delay time.Duration
	Talk  Talk
	// Texts: for early talkers, for those that no server can be had for, and what is sent when the hold begins.
	Reject, NoServer, Teaser Text

	// Admission are HAProxy's rules tcp-request connection. They come first, and an accept ends them alone.
	Admission []Rule
	// Access are all other rules.
	Access []Rule

	Limits Limits

	Pass      PassMode
	Veto      bool          // who has no pass gets none by a connection to this frontend
	PassDelay time.Duration // how long a client with a pass waits

	// Offender is what offenders get: Dunno for nothing, a delay (never a shorter one), a tarpit, reject, silent-drop. Whose early
	// talk is observed alone does not get it.
	Offender Outcome

	DNS bool // ask the DNS lists while a client waits

	Stress      bool          // the delay falls to StressDelay while tables are nearly full
	StressDelay time.Duration // a shorter delay stays
}

// PassMode is what a frontend does with passes.
type PassMode uint8

// The modes.
const (
	PassUse   PassMode = iota // passes are granted and looked at
	PassNever                 // neither
)

// Limits bound the connections of one client; 0 means no limit.
type Limits struct {
	Connections uint32 // concurrent ones
	Rate        uint32 // new ones in Config.Window
	// Over is what a client gets that is over a limit: a reject, with a text or without, or a silent-drop.
	Over Outcome
}

// Offences say when an early talker is an offender: After offences Within a time make it one For a time since the last.
type Offences struct {
	After       int // 1 to 8; 0 means that offences are not counted
	Within, For time.Duration
}

// maxOffences is how many offences of a client are remembered.
const maxOffences = 8

// Table is what is decided about clients. It never changes, and all shards share it.
type Table struct {
	frontends  []frontend
	lists      []NamedList
	rules      []RuleInfo
	treatments []Treatment
	dns        DNS
	uncounted  []TreatmentID
	pinned     []Signature
	prefixes   Prefixes
	passTTL    uint32 // in seconds, 0: no passes
	window     time.Duration
	offences   offences
}

// frontend is a Frontend with all the treatments that it can lead to.
type frontend struct {
	admission, access []rule
	base              base
	over              variants
	connections, rate uint32
	counts            bool // the client's connections are counted
	passes, veto      bool // passes are looked at, and granted unless there is a veto
	offends           bool // offenders are treated as such
	remembers         bool // one of the three needs the memory
}

// base is how clients are treated for whom no step ended the decision.
type base struct{ normal, offender variants }

// Treatments returns the treatments that can come out, by their number. They are not to be changed.
func (t *Table) Treatments() []Treatment { return t.treatments }

// Treatment returns a treatment.
func (t *Table) Treatment(id TreatmentID) *Treatment { return &t.treatments[id] }

// Uncounted returns the same treatment for a connection that is not counted.
func (t *Table) Uncounted(id TreatmentID) TreatmentID { return t.uncounted[id] }

// Rules returns the rules by their number: the built-in ones, then the configured ones. They are not to be changed.
func (t *Table) Rules() []RuleInfo { return t.rules }

// Prefixes returns how much of an address is a client.
func (t *Table) Prefixes() Prefixes { return t.prefixes }

// NewTable returns the table of a configuration, or all that is wrong with it.
func NewTable(c *Config) (*Table, error) {
	b := &builder{config: c, ids: map[Treatment]TreatmentID{}, table: &Table{
		lists: c.Lists, dns: c.DNS, prefixes: c.Prefixes.withDefaults(), passTTL: seconds(c.PassTTL), window: c.Window,
		offences: offences{after: c.Offences.After, within: seconds(c.Offences.Within), forTime: seconds(c.Offences.For)},
		rules: []RuleInfo{
			RuleNone: {Name: "delay"}, RuleConnections: {Name: "too many connections"}, RuleRate: {Name: "connection rate"},
			RulePass: {Name: "pass"}, RuleVeto: {Name: "veto"}, RuleOffender: {Name: "offender"},
			RuleDNS: {Name: "DNS list"},
		},
	}}
	if b.table.window == 0 {
		b.table.window = time.Minute
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	for i := range c.Frontends {
		if b.frontend(&c.Frontends[i]); len(b.table.treatments) > maxTreatments {
			return nil, errTreatments
		}
	}
	b.buildOutcomes()
	b.buildUncounted()
	switch {
	case len(b.table.treatments) > maxTreatments:
		return nil, errTreatments
	case len(b.table.rules) > 1<<16:
		return nil, fmt.Errorf("%d rules: at most %d are possible", len(b.table.rules), 1<<16)
	case len(b.table.pinned) > maxPinned:
		return nil, fmt.Errorf("rules ask for %d signatures: at most %d are possible", len(b.table.pinned), maxPinned)
	}
	return b.table, nil
}

// maxTreatments is how many a TreatmentID can name.
const maxTreatments = 1 << 16

var errTreatments = fmt.Errorf("more than %d different treatments of clients: give frontends and rules the same delays and texts", maxTreatments)

func (c *Config) check() error {
	errs := []error{c.Prefixes.withDefaults().check(), c.Offences.check()}
	if c.PassTTL < 0 {
		errs = append(errs, fmt.Errorf("passes are good for %v: expected no less than 0", c.PassTTL))
	}
	if c.Window < 0 || c.Window > 0 && c.Window < minWindow {
		errs = append(errs, fmt.Errorf("connections are counted over %v: expected %v or more", c.Window, minWindow))
	}
	asks := false
	for _, l := range c.Lists {
		if l.List == nil {
			errs = append(errs, fmt.Errorf("list %s has no networks, not even none", l.Name))
		}
	}
	for i := range c.Frontends {
		asks = asks || c.Frontends[i].DNS
		if err := c.checkFrontend(&c.Frontends[i]); err != nil {
			errs = append(errs, fmt.Errorf("frontend %s: %w", c.Frontends[i].Name, err))
		}
	}
	if asks {
		errs = append(errs, c.DNS.check())
	}
	return errors.Join(errs...)
}

func (o *Offences) check() error {
	switch {
	case o.After < 0 || o.After > maxOffences:
		return fmt.Errorf("offenders after %d offences: expected 1 to %d, or 0 for none", o.After, maxOffences)
	case o.After > 0 && (o.Within <= 0 || o.For <= 0):
		return fmt.Errorf("offences within %v, offenders for %v: expected more than 0", o.Within, o.For)
	}
	return nil
}

func (c *Config) checkFrontend(f *Frontend) error {
	var errs []error
	for _, d := range []struct {
		what string
		time.Duration
	}{{"delay", f.Delay}, {"pass delay", f.PassDelay}, {"stress delay", f.StressDelay}} {
		if d.Duration < 0 || d.Duration > maxDelay {
			errs = append(errs, fmt.Errorf("%s of %v: expected 0 to %v", d.what, d.Duration, maxDelay))
		}
	}
	if f.Talk >= numTalks {
		errs = append(errs, fmt.Errorf("there is no answer number %d to early talk", f.Talk))
	}
	if k := f.Limits.Over.Kind; f.Limits != (Limits{}) && k != OutcomeReject && k != OutcomeSilentDrop {
		errs = append(errs, fmt.Errorf("clients over a limit get %v: expected reject or silent-drop", k))
	}
	switch k := f.Offender.Kind; k {
	case OutcomeDunno, OutcomeDelay, OutcomeTarpit, OutcomeReject, OutcomeSilentDrop:
		errs = append(errs, checkOutcome(&f.Offender, "offenders"))
	default:
		errs = append(errs, fmt.Errorf("offenders get %v: expected delay, tarpit, reject or silent-drop", k))
	}
	for _, rules := range [][]Rule{f.Admission, f.Access} {
		for i := range rules {
			if err := c.checkRule(&rules[i]); err != nil {
				errs = append(errs, fmt.Errorf("%s: rule %s: %w", rules[i].Where, rules[i].Name, err))
			}
		}
	}
	for i := range f.Admission {
		switch r := &f.Admission[i]; r.Do.Kind {
		case OutcomeAccept, OutcomeReject, OutcomeSilentDrop:
		default:
			errs = append(errs, fmt.Errorf("%s: rule %s: a rule of admission does %v: expected accept, reject or silent-drop", r.Where, r.Name, r.Do.Kind))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) checkRule(r *Rule) error {
	if r.Do.Kind == OutcomeByList && (r.Do.List < 0 || r.Do.List >= len(c.Lists)) {
		return fmt.Errorf("there is no list number %d", r.Do.List)
	}
	for _, and := range r.When {
		for _, term := range and {
			for _, test := range term.Any {
				switch {
				case test.Kind > TestRate:
					return fmt.Errorf("there is no test number %d", test.Kind)
				case test.Compare > EQ:
					return fmt.Errorf("there is no comparison number %d", test.Compare)
				case test.Kind == TestList && (test.List < 0 || test.List >= len(c.Lists)):
					return fmt.Errorf("there is no list number %d", test.List)
				}
			}
		}
	}
	return checkOutcome(&r.Do, "it")
}

func checkOutcome(o *Outcome, who string) error {
	switch {
	case o.Kind >= numOutcomes:
		return fmt.Errorf("there is no outcome number %d", o.Kind)
	case o.Kind == OutcomeDelay && (o.Delay < 0 || o.Delay > maxDelay):
		return fmt.Errorf("%s: delay of %v: expected 0 to %v", who, o.Delay, maxDelay)
	case o.Kind == OutcomeTalk && o.Talk >= numTalks:
		return fmt.Errorf("there is no answer number %d to early talk", o.Talk)
	}
	return nil
}

// seconds rounds up, so that what is short is not nothing.
func seconds(d time.Duration) uint32 {
	return uint32(min((d+time.Second-1)/time.Second, 1<<30))
}
