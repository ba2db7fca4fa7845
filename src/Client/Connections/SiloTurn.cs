using System.Collections.Immutable;

namespace KvCache.Client.Connections;

/// <summary>
/// Whose turn it is: a call asks silos in their order. Where the last one is away, and another was given up because it was slow, that one
/// is asked again and gets the time that is left.
/// </summary>
internal sealed class SiloTurn
{
    private readonly ImmutableArray<SiloConnector> _silos;
    private readonly CallBudget _budget;
    private int _givenUp; // when this turn began
    private int _index;
    private SiloConnector? _slow;

    public SiloTurn(ImmutableArray<SiloConnector> silos, CallBudget budget)
    {
        _silos = silos;
        _budget = budget;
    }

    /// <summary>The silo to ask.</summary>
    public SiloConnector Silo => _index < _silos.Length ? _silos[_index] : _slow!;

    /// <summary>Whether there is nobody left to ask when this one does not answer.</summary>
    public bool IsLast => _index >= _silos.Length - 1;

    /// <summary>Goes on when the silo did not answer; false when all have been asked.</summary>
    public bool TryNext()
    {
        if (_index >= _silos.Length || (IsLast && _slow is null))
            return false;
        if (!IsLast && _budget.GivenUp > _givenUp)
            _slow ??= Silo;
        _index++;
        _givenUp = _budget.GivenUp;
        return true;
    }
}
