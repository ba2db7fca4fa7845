using KvCache.Checksums;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Silo.Data;
using KvCache.SimulationTests.Engine;
using KvCache.SimulationTests.Model;
using Orleans.Concurrency;

namespace KvCache.SimulationTests.Worlds;

/// <content>What clients do.</content>
internal sealed partial class World
{
    private const int MaxLeases = 2;

    private readonly List<Put> _puts = [];
    private readonly List<InlinePut> _inlines = [];
    private readonly List<(ModelSilo Silo, BlockLease Lease)> _reads = [];

    /// <summary>An activation has accepted a write.</summary>
    /// <param name="activation">The activation.</param>
    /// <param name="generation">The write.</param>
    /// <param name="inlineNumber">Number of the write when the grain reserved its memory just now, else 0.</param>
    /// <param name="rivals">Writes that it had accepted before and that ran when it was asked.</param>
    /// <param name="asked">When it was asked, by its clock.</param>
    public void Accepted(Activation activation, ulong generation, ulong inlineNumber, IReadOnlyList<Write> rivals, DateTimeOffset asked)
    {
        if (inlineNumber != 0)
        {
            var life = _inlines.Find(inline => inline.Number == inlineNumber)?.Life;
            History.Begin(activation.Block, generation, inlineNumber, activation.Silo.Node).Life = life;
        }

        var write = History.Find(activation.Block, generation)!;
        write.AcceptedBy = activation;
        write.AcceptedAt = asked;
        _rules.CheckAccepted(activation, write, rivals);
    }

    public bool IsRunning(Write write) => _silos[write.Silo].Store.IsWriting(TestBlocks.Keys[write.Block], write.Generation);

    /// <summary>Whether the writer has not ended the write itself.</summary>
    public bool IsOpen(Write write) => _puts.Exists(put => put.Write == write && put.End is null);

    /// <summary>A writer was told that its block is visible.</summary>
    public void Sealed(int block, ulong generation, ModelSilo silo, bool wasRunning)
    {
        var write = History.Find(block, generation)!;
        Rules.IsTrue(write.Offered, $"{write} became visible, but its writer has not finished it");
        Rules.IsTrue(wasRunning, $"{write} became visible, but it was revoked");
        write.Sealed = true;
        write.ExpiresAt = write.Life is { } life ? silo.Clock.GetUtcNow() + life : null;
        Trace.Add($"  stored: {write}");
    }

    private void BeginPut(ModelSilo silo, int block)
    {
        var terms = new BlockTerms(
            _dice.Chance(30) ? TimeSpan.FromMilliseconds(1 + _dice.Next(20_000)) : null,
            new BlockDurability(_dice.Chance(25) ? 2 : 1, _dice.Chance(50)),
            Replace: _dice.Chance(12));
        BeginPut(silo, block, terms);
    }

    private Put BeginPut(ModelSilo silo, int block, BlockTerms terms)
    {
        var pending = silo.Writer.Begin(TestBlocks.Keys[block], TestBlocks.Layout, TestBlocks.LineageOf(block), terms, default);
        var put = new Put(silo, block, Step, pending);
        if (pending.Write is { } memory)
        {
            put.Write = History.Begin(block, memory.Generation, History.NewId(), silo.Node);
            put.Write.Life = terms.TimeToLive;
            put.WasRunning = true;
            _puts.Add(put);
        }
        else if (pending.Refusal == PutOutcome.AlreadyStored)
        {
            _rules.CheckStored(block, Step);
        }

        Trace.Add($"S{silo.Node} begins to store K{block}: {put.Write?.ToString() ?? pending.Refusal.ToString()}, {terms}");
        return put;
    }

    private void FinishPut()
    {
        var open = _puts.FindAll(put => put.End is null);
        if (open.Count > 0)
            FinishPut(_dice.Pick(open), intact: _dice.Chance(85));
    }

    private void FinishPut(Put put, bool intact)
    {
        Trace.Add($"S{put.Silo.Node} has received {put.Write}, {(intact ? "intact" : "damaged")}");
        TestBlocks.Fill(put.Pending.Write!.Bytes, put.Block, intact ? put.Write!.Id : 0);
        BlockChecksum.ComputeLayers(put.Pending.Write.Bytes, TestBlocks.Layout, put.Pending.Write.Checksums);
        put.Write!.Offered = intact;
        put.End = put.Silo.Writer.FinishAsync(put.Pending, intact || Mutation == Mutation.AcceptsDamage, Task.CompletedTask);
    }

    private void BeginInline(ModelSilo silo, int block)
    {
        var reference = silo.Grains.Prefix(block);
        var number = History.NewId();
        var inline = new InlinePut(
            silo, reference, block, Step, number, _dice.Chance(30) ? TimeSpan.FromMilliseconds(1 + _dice.Next(10_000)) : null);
        _inlines.Add(inline);
        Trace.Add($"S{silo.Node} begins to store K{block} through the grain, as #{number}");
        reference.NextWrite = number;
        inline.Begin =
            reference.BeginAsync(
            new WriteIntent
            {
                Namespace = TestBlocks.EncodedNamespace,
                Depth = block,
                TimeToLive = inline.Life,
                Persisted = _dice.Chance(50)
            }, default).AsTask();
    }

    private void AdvanceInline()
    {
        if (_inlines.Count == 0)
            return;
        var inline = _dice.Pick(_inlines);
        if (!inline.Begin.IsCompletedSuccessfully || inline.Seal is not null)
            return;
        var generation = inline.Begin.Result.Generation;
        if (!inline.Written)
        {
            Trace.Add($"#{inline.Number} is written");
            inline.Written = true;
            var bytes = new byte[TestBlocks.Layout.BlockBytes];
            TestBlocks.Fill(bytes, inline.Block, inline.Number);
            _ = inline.Reference.WriteAsync(generation, 0, new Immutable<byte[]>(bytes), default).AsTask();
        }
        else if (_dice.Chance(85))
        {
            Trace.Add($"#{inline.Number} is to be sealed");
            History.Find(inline.Block, generation)!.Offered = true;
            inline.Seal = inline.Reference.SealAsync(generation, default).AsTask();
        }
        else
        {
            Trace.Add($"#{inline.Number} is abandoned");
            _ = inline.Reference.AbandonAsync(generation, default).AsTask();
            _inlines.Remove(inline);
        }
    }

    private void Read(ModelSilo silo, int block)
    {
        if (_reads.Count >= MaxLeases)
        {
            var (_, finished) = _reads[0];
            _rules.CheckContent(finished);
            finished.Dispose();
            _reads.RemoveAt(0);
        }

        if (silo.Store.TryLease(TestBlocks.Keys[block]) is not { } lease)
            return;
        Trace.Add($"S{silo.Node} begins to read K{block}");
        _rules.CheckContent(lease);
        _reads.Add((silo, lease));
    }

    // What has come to an end within the step.
    private void Settle()
    {
        if (Network.Broken is { } broken)
            throw broken;
        _rules.Look();
        foreach (var put in _puts)
        {
            if (put.End is { IsCompleted: true } end)
            {
                var published = put.Pending.Write!.Generation;
                if (published != put.Write!.Generation)
                    History.Renumber(put.Write, published);
                if (end.Result == PutOutcome.Stored)
                    Sealed(put.Block, put.Write!.Generation, put.Silo, put.WasRunning);
                else if (end.Result == PutOutcome.AlreadyStored)
                    _rules.CheckStored(put.Block, put.Step);
            }

            put.WasRunning = put.Silo.Store.IsWriting(TestBlocks.Keys[put.Block], put.Write!.Generation);
        }

        _puts.RemoveAll(put => put.End is { IsCompleted: true });
        foreach (var inline in _inlines)
        {
            if (inline.Begin is { IsCompletedSuccessfully: true, Result.Outcome: BeginOutcome.AlreadyStored }
                || inline.Seal is { IsCompletedSuccessfully: true, Result: SealOutcome.AlreadyStored })
                _rules.CheckStored(inline.Block, inline.Step);
        }

        _inlines.RemoveAll(
            inline => inline.Seal is { IsCompleted: true }
            || inline.Begin is { IsFaulted: true } or { IsCompletedSuccessfully: true, Result.Outcome: not BeginOutcome.Accepted });
    }

    private void Forget(ModelSilo silo)
    {
        _puts.RemoveAll(put => put.Silo == silo);
        _inlines.RemoveAll(inline => inline.Silo == silo);
        _reads.RemoveAll(read => read.Silo == silo);
        _arrivals.RemoveAll(arrival => arrival.Silo == silo);
        _fullCopies.RemoveAll(copy => copy.Sender == silo || copy.Reader == silo);
        _deletes.RemoveAll(delete => delete.Silo == silo);
    }

    private sealed class Put(ModelSilo silo, int block, int step, PendingBlock pending)
    {
        public ModelSilo Silo => silo;

        public int Block => block;

        public int Step => step;

        public PendingBlock Pending => pending;

        public Write? Write { get; set; }

        public Task<PutOutcome>? End { get; set; }

        /// <summary>Whether the store had the write at the end of the step before.</summary>
        public bool WasRunning { get; set; }
    }

    private sealed class InlinePut(ModelSilo silo, PrefixReference reference, int block, int step, ulong number, TimeSpan? life)
    {
        public ModelSilo Silo => silo;

        public PrefixReference Reference => reference;

        public int Block => block;

        public int Step => step;

        public ulong Number => number;

        public TimeSpan? Life => life;

        public Task<WriteGrant> Begin { get; set; } = null!;

        public bool Written { get; set; }

        public Task<SealOutcome>? Seal { get; set; }
    }
}
