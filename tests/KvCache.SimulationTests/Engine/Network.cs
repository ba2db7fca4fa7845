using KvCache.SimulationTests.Model;

namespace KvCache.SimulationTests.Engine;

/// <summary>Something on its way from one node to another.</summary>
/// <param name="Text">What it says, for the trace.</param>
/// <param name="Block">Number of the block that it is about; -1 for none.</param>
/// <param name="From">Node that sent it.</param>
/// <param name="To">Node that it is for.</param>
/// <param name="Deliver">What it does there.</param>
/// <param name="Lost">What the sender does when it never hears of it again; null for nothing.</param>
/// <param name="Repeatable">Whether it may arrive twice.</param>
internal sealed record Message(string Text, int Block, int From, int To, Action Deliver, Action? Lost, bool Repeatable)
{
    public override string ToString() => $"{Text}{(Block < 0 ? "" : $" K{Block}")}, {Name(From)} to {Name(To)}";

    private static string Name(int node) => node == ModelRedis.Node ? "Redis" : $"S{node}";
}

/// <summary>
/// Everything that is on its way. Nothing arrives by itself: a schedule delivers, drops and repeats what it picks, and thereby delays and
/// reorders the rest.
/// </summary>
internal sealed class Network(Func<int, bool> isAlive, Trace trace)
{
    private readonly List<Message> _inFlight = [];
    private readonly List<Question> _asked = [];

    public int Count => _inFlight.Count;

    /// <summary>A rule that broke while a question was being answered.</summary>
    public BrokenRuleException? Broken { get; private set; }

    public void Send(Message message) => _inFlight.Add(message);

    /// <summary>Asks a node, and waits for the answer, or for the loss of either.</summary>
    /// <exception cref="TimeoutException">The question or the answer was lost, or the node died.</exception>
    public Task<T> Ask<T>(string text, int block, int from, int to, Func<Task<T>> handler, bool repeatable, Action? lost = null)
    {
        // Continuations run inside of the step that delivers the answer: that is what makes a schedule replay.
        var answer = new TaskCompletionSource<T>();
        var question = new Question(to);
        question.Fail = Fail;
        _asked.Add(question);
        Send(new Message(text, block, from, to, () => _ = Serve(), Fail, repeatable));
        return answer.Task;

        void Fail()
        {
            _asked.Remove(question);
            if (answer.Task.IsCompleted || !isAlive(from))
                return;
            lost?.Invoke();
            answer.TrySetException(new TimeoutException($"no answer to '{text}'"));
        }

        async Task Serve()
        {
            T result;
            try
            {
                result = await handler().ConfigureAwait(false);
            }
            catch (TimeoutException)
            {
                Send(new Message(trace.Kept ? $"failure of {text}" : text, block, to, from, Fail, Fail, Repeatable: false));
                return;
            }
            catch (BrokenRuleException e)
            {
                Broken = e;
                return;
            }

            Send(new Message(trace.Kept ? $"answer to {text}" : text, block, to, from, () => Answer(result), Fail, Repeatable: false));
        }

        void Answer(T result)
        {
            _asked.Remove(question);
            answer.TrySetResult(result);
        }
    }

    public void DeliverOldest() => Deliver(0);

    public void Deliver(int index)
    {
        var message = _inFlight[index];
        _inFlight.RemoveAt(index);
        Arrive(message);
    }

    /// <summary>Delivers a message that stays on its way, to arrive once more.</summary>
    public void Repeat(int index)
    {
        if (_inFlight[index] is { Repeatable: true } message)
            Arrive(message);
    }

    public void Drop(int index)
    {
        var message = _inFlight[index];
        _inFlight.RemoveAt(index);
        trace.Add($"  lost: {message}");
        message.Lost?.Invoke();
    }

    public int Find(Predicate<Message> match) => _inFlight.FindIndex(match);

    /// <summary>A node is gone: what was for it is lost, and so is every answer that it owed.</summary>
    /// <param name="node">The node.</param>
    /// <param name="keepsFrom">Whether something that it sent still arrives.</param>
    public void Crash(int node, Func<Message, bool> keepsFrom)
    {
        _inFlight.RemoveAll(message => message.From == node && !keepsFrom(message));
        foreach (var message in _inFlight.FindAll(message => message.To == node))
        {
            _inFlight.Remove(message);
            message.Lost?.Invoke();
        }

        foreach (var question in _asked.FindAll(question => question.To == node))
            question.Fail();
    }

    private void Arrive(Message message)
    {
        if (!isAlive(message.To))
        {
            message.Lost?.Invoke();
            return;
        }

        trace.Add($"  arrives: {message}");
        message.Deliver();
    }

    private sealed class Question(int to)
    {
        public int To => to;

        public Action Fail { get; set; } = static () => { };
    }
}
