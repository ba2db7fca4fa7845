namespace KvCache.LLamaSharp;

/// <summary>What a restore has brought into a sequence.</summary>
/// <param name="Tokens">Tokens whose KV is in the sequence now, from the first on: those that were there before included. The next token
/// to compute is that behind them; there is always one.</param>
/// <param name="Blocks">Blocks that came from the cache.</param>
/// <param name="Reason">Why not more; <see cref="MissReason.None"/> when all full blocks are there.</param>
/// <param name="MatchTime">Time for the look-up.</param>
/// <param name="LoadTime">Time in which bytes were waited for; they arrive while earlier ones are imported.</param>
/// <param name="ImportTime">Time in which llama.cpp took them over.</param>
public readonly record struct PrefixRestore(
    int Tokens, int Blocks, MissReason Reason, TimeSpan MatchTime, TimeSpan LoadTime, TimeSpan ImportTime);
