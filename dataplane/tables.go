package dataplane

// Table is a table of a shard whose size is bounded.
type Table uint8

// The tables.
const (
	TableConnections Table = iota // all phases
	TableHalfOpen
	TableTarpit
	TablePasses
	TableClients // whose connections are counted for limits
	TableOffenders
	TableSignatures
	TableUsedCookies
	tables
)

// String returns the table's label in metrics.
func (t Table) String() string {
	switch t {
	case TableConnections:
		return "connections"
	case TableHalfOpen:
		return "half-open"
	case TableTarpit:
		return "tarpit"
	case TablePasses:
		return "passes"
	case TableClients:
		return "clients"
	case TableOffenders:
		return "offenders"
	case TableSignatures:
		return "signatures"
	case TableUsedCookies:
		return "used-cookies"
	case tables:
	}
	return "unknown"
}

// Tables are how full the tables of a shard are. A table without room has no entries either: without a policy nothing is remembered of clients.
type Tables struct {
	Entries [tables]int64 `name:"entries" label:"table" help:"entries of a shard's table"`
	Room    [tables]int64 `name:"capacity" label:"table" help:"entries that a shard's table has room for"`
}

// Tables returns how full the tables are.
func (s *Shard) Tables() (t Tables) {
	lim := s.cfg.Limits.withDefaults()
	set := func(of Table, entries, room int) { t.Entries[of], t.Room[of] = int64(entries), int64(room) }
	set(TableConnections, s.flows.Len(), lim.Flows)
	set(TableHalfOpen, int(s.stats.Phase[PhaseHalfOpen]), int(s.halfOpen))
	set(TableTarpit, int(s.stats.Phase[PhaseTarpit]), int(s.tarpitRecords()))
	set(TableUsedCookies, s.usedLen, usedBuckets*usedMarks)
	if s.memory != nil {
		n, room := s.memory.Sizes(), s.memory.Bounds()
		set(TablePasses, n.Passes, room.Passes)
		set(TableClients, n.Clients, room.Clients)
		set(TableOffenders, n.Offenders, room.Offenders)
		set(TableSignatures, n.Signatures, room.Signatures)
	}
	return t
}
