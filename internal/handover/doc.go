// Package handover is the conversation in which one hushgate gives its connections to the next.
//
// It takes place over a unix socket. A message is an octet that says what it is, four octets that say how long it is, and
// as many octets more; one file descriptor may come with it. In this order:
//
//	taker  hello     the versions of this conversation that it knows
//	giver  head      JSON: the configuration's tables. Nothing has been given up
//	taker  ready     it has a configuration, rules and deaf packet sockets, and could go on at once
//	giver  state     JSON: it has stopped between two batches, and this is what it knows but for connections
//	giver  file      a packet socket, with JSON that says which; as many as there are, and the lock as the last
//	giver  records   connections, as dataplane.AppendRecord writes them, in as many messages as it takes
//	giver  end       how many connections there were, and the SHA-256 of their records
//	taker  take      it has understood all of that
//	giver  yours     from here on they are the taker's, and the giver ends
//
// Instead of any of these either may send "no", with its reason. Before "yours" the giver has only stopped: after a "no",
// an end of the conversation, or silence for too long it goes on as if nothing had been. Behind "yours" it never does.
package handover
