namespace KvCache.Bench.Transfer;

/// <summary>What every contender moves in one comparison.</summary>
/// <param name="Bytes">Bytes of one block.</param>
/// <param name="Connections">Connections that work at the same time, each with its own lane and thread.</param>
/// <param name="Batch">Blocks of one request.</param>
internal sealed record TransferCase(long Bytes, int Connections, int Batch = 1)
{
    /// <summary>Bytes that one request moves; no lane needs a larger buffer.</summary>
    public long RequestBytes => Bytes * Batch;

    public int BlockLength => checked((int)Bytes);

    public override string ToString() =>
        $"{Reports.ReportTable.Size(Bytes, Batch == 1 ? null : Batch)}, {Connections} connection{(Connections == 1 ? "" : "s")}";
}
