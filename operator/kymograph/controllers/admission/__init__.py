"""The admission controller: the webhook server, the policies it holds, the configurations that call it."""
