namespace KvCache.Silo.Http;

/// <summary>Marks endpoints of the silo's operators: looking asks for a scraper's token, anything else for the administrator's.</summary>
internal sealed class ForOperators;

/// <summary>Stands before endpoints of the silo's operators, before a byte of a body is read: a filter of an endpoint comes behind the
/// body.</summary>
internal sealed class OperatorGate(Operators operators, ProblemWriter problems)
{
    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        if (context.GetEndpoint()?.Metadata.GetMetadata<ForOperators>() is null)
        {
            await next(context);
            return;
        }

        // Whoever sees figures sees quotas; whoever changes them is the administrator.
        var least = HttpMethods.IsGet(context.Request.Method) ? OperatorRole.Scraper : OperatorRole.Administrator;
        if (await operators.RefuseAsync(context, least) is { } problem)
            await problems.WriteAsync(context, problem);
        else
            await next(context);
    }
}
