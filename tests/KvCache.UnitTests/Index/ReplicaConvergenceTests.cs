using CsCheck;
using KvCache.Engine.Index;
using KvCache.Testing;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class ReplicaConvergenceTests
{
    [Fact]
    public void Whatever_the_network_does_the_replica_ends_as_the_peer_is() =>
        Gen.Byte.Array[0, 600].Sample(script =>
        {
            var world = new World();
            foreach (var step in script)
                world.Step(step);
            world.Settle();
            world.AssertConverged();

            // What is still on the way and arrives now changes nothing any more.
            world.DeliverAll();
            world.AssertConverged();
        }, iter: Depth.Of(800));

    /// <summary>A peer with a set of blocks and a short log, a replica, and what is on the way from one to the other.</summary>
    private sealed class World : IIndexSink
    {
        private const int Blocks = 12, Holder = 9, PeerSelf = 0;

        private readonly PrefixIndex _peerIndex = new(), _index = new();
        private readonly Dictionary<BlockKey, ulong> _peerGraves = [], _graves = [];
        private readonly List<Func<ReplicaOutcome>> _onTheWay = [];
        private readonly IndexReplica _replica;
        private IndexLog _log = new(24);
        private ulong _stamp;
        private Sending? _sending;

        public World() => _replica = new IndexReplica(_index, Holder, this);

        public void Witness(ulong clock)
        {
        }

        public void RaiseFloor(TenantId tenant, ulong stamp)
        {
        }

        public void Forgotten(TenantId tenant, ulong stamp)
        {
        }

        public void KnowsSince(ulong stamp)
        {
        }

        public void Bury(BlockKey key, ulong stamp) => _graves[key] = Math.Max(stamp, _graves.GetValueOrDefault(key));

        public void Step(byte step)
        {
            var (action, argument) = (step % 16, step / 16);
            var key = Keys.Key(argument % Blocks);
            switch (action)
            {
                case 0 or 1 or 2:
                    Change(_peerIndex.Add(key, PeerSelf), IndexOperation.Added, key);
                    break;
                case 3 or 4:
                    Change(_peerIndex.Remove(key, PeerSelf), IndexOperation.Removed, key);
                    break;
                case 5:
                    Change(_peerIndex.Add(key, PrefixIndex.RedisHolder), IndexOperation.Persisted, key);
                    break;
                case 6:
                    _peerGraves[key] = _stamp;
                    Change(true, IndexOperation.Deleted, key);
                    break;
                case 7 or 8:
                    Send(_log, _log.Next - Math.Min(_log.Next, (ulong)argument), argument % 5);
                    break;
                case 9:
                    // What a healthy peer sends, and it arrives before everything else.
                    Send(_log, _replica.Next, 8);
                    Deliver(_onTheWay.Count - 1, keep: false);
                    break;
                case 10 or 11 or 12:
                    Deliver(0, keep: false);
                    break;
                case 13 when argument == 0:
                    Restart();
                    break;
                case 13 when argument < 4:
                    _sending = new Sending(_log);
                    break;
                case 13 or 14:
                    SendPages(argument);
                    break;
                case 15 when argument < 3 && _onTheWay.Count > 0:
                    _onTheWay.RemoveAt(argument % _onTheWay.Count);
                    break;
                case 15:
                    Deliver(argument, keep: argument % 2 == 0);
                    break;
            }
        }

        public void Settle()
        {
            for (var attempts = 0; !_replica.IsLive || _replica.Incarnation != _log.Incarnation || _replica.Next != _log.Next; attempts++)
            {
                Assert.InRange(attempts, 0, 10);
                var buffer = new IndexDelta[64];
                if (_replica.IsLive && _replica.Incarnation == _log.Incarnation
                    && _log.Read(_replica.Next, buffer, out var first) is var count and not IndexLog.Gap)
                {
                    Assert.Equal(ReplicaOutcome.Applied, _replica.Apply(_log.Incarnation, first, buffer.AsSpan(0, count)));
                    continue;
                }

                var sending = new Sending(_log);
                sending.Begin(_replica);
                while (sending.NextPage(this, 100) is { } page)
                    Assert.Equal(ReplicaOutcome.Applied, page());
            }
        }

        public void DeliverAll()
        {
            foreach (var message in _onTheWay)
                message();
        }

        public void AssertConverged()
        {
            for (var i = 0; i < Blocks; i++)
            {
                var (here, there) = (_index.HoldersOf(Keys.Key(i)), _peerIndex.HoldersOf(Keys.Key(i)));
                Assert.Equal((there >> PeerSelf) & 1, (here >> Holder) & 1);
                Assert.Equal((there >> PrefixIndex.RedisHolder) & 1, (here >> PrefixIndex.RedisHolder) & 1);
            }

            Assert.Equal(_peerGraves.OrderBy(g => g.Value), _graves.OrderBy(g => g.Value));
            Assert.Equal(_peerIndex.CountOf(PeerSelf), _index.CountOf(Holder));
        }

        private void Change(bool changed, IndexOperation operation, BlockKey key)
        {
            if (changed)
                _log.Append(new IndexDelta(operation, key, _stamp++));
        }

        private void Send(IndexLog log, ulong from, int count)
        {
            var deltas = new IndexDelta[count];
            var read = log.Read(from, deltas, out var first);
            if (read != IndexLog.Gap)
                _onTheWay.Add(() => _replica.Apply(log.Incarnation, first, deltas.AsSpan(0, read)));
        }

        // The replica asks when the first page arrives, which may be long after the peer noted the number.
        private void SendPages(int argument)
        {
            if (_sending is not { } sending)
                return;
            if (!sending.Begun)
                sending.Begin(_replica);
            else if (sending.NextPage(this, 64 * (1 + (argument % 4))) is { } page)
                _onTheWay.Add(page);
            else
                _sending = null;
        }

        private void Deliver(int which, bool keep)
        {
            if (_onTheWay.Count == 0)
                return;
            var message = _onTheWay[which % _onTheWay.Count];
            if (!keep)
                _onTheWay.Remove(message);
            message();
        }

        private void Restart()
        {
            _log = new IndexLog(24);
            for (var i = 0; i < Blocks; i += 2)
                _peerIndex.Remove(Keys.Key(i), PeerSelf);
        }

        /// <summary>A snapshot that the peer makes page by page while its blocks come and go.</summary>
        private sealed class Sending(IndexLog log)
        {
            private readonly ulong _sequence = log.Next;
            private int _cursor, _redisCursor, _pages;
            private ulong _ticket;
            private bool _gravesSent, _ended;

            public bool Begun { get; private set; }

            public void Begin(IndexReplica replica)
            {
                _ticket = replica.BeginSnapshot(log.Incarnation, _sequence);
                Begun = true;
            }

            public Func<ReplicaOutcome>? NextPage(World world, int chunks)
            {
                if (_ended)
                    return null;
                var replica = world._replica;
                var (ticket, number) = (_ticket, _pages);
                List<BlockKey> keys = [], inRedis = [];
                var more = false;
                for (var i = 0; i < chunks; i++)
                    more |= world._peerIndex.ReadKeys(PeerSelf, ref _cursor, keys) | world._peerIndex.ReadKeys(
                        PrefixIndex.RedisHolder, ref _redisCursor, inRedis);
                if (!more && _gravesSent)
                {
                    _ended = true;
                    return () => replica.EndSnapshot(ticket, number);
                }

                IndexDelta[] page =
                [
                    .. keys.Select(k => new IndexDelta(IndexOperation.Added, k, 0)),
                    .. inRedis.Select(k => new IndexDelta(IndexOperation.Persisted, k, 0)),
                    .. world._peerGraves.Select(g => new IndexDelta(IndexOperation.Deleted, g.Key, g.Value)),
                ];
                _gravesSent = true;
                _pages++;

                // The incarnation as it is when the page is made: a restart of the peer in between shows.
                var incarnation = world._log.Incarnation;
                return () => replica.ApplySnapshotPage(ticket, incarnation, number, page);
            }
        }
    }
}
